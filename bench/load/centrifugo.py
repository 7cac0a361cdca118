"""Centrifugo as a peer: its own channel with history and recovery, fed through its HTTP API.

An event is one ``POST /api/publish`` on a connection that stays open; the 16 of a burst are pipelined on it. Compared
with their deliveries the requests cost next to nothing. The listeners speak its JSON protocol: connect, then subscribe.
Centrifugo joins what waits for a client into one message, with one event a line; ``reader`` counts lines.
"""

from __future__ import annotations

import json
import socket
import subprocess

from bench import built
from bench.load import sockets
from bench.load.audience import Audience
from bench.rig import SERVER_CORE, BenchError, Rig, free_port, wait_for_port

MODULE = "github.com/centrifugal/centrifugo/v6@latest"
CHANNEL = "bench"


def memory(rig: Rig, payload: bytes, count: int) -> Audience:
    """Centrifugo alone, the history in its own memory. Raises Missing when it cannot be built."""
    return _started(rig, payload, count, {"CENTRIFUGO_ENGINE_TYPE": "memory"})


def redis(rig: Rig, payload: bytes, count: int) -> Audience:
    """The history in a Redis of its own, through which the events come back to it, on the core that ours has.

    Raises Missing when it cannot be built.
    """
    built.go("centrifugo", MODULE)
    url, _ = rig.redis()
    return _started(rig, payload, count, {"CENTRIFUGO_ENGINE_TYPE": "redis", "CENTRIFUGO_ENGINE_REDIS_ADDRESS": url})


def version() -> str:
    """What it says of itself."""
    program = built.go("centrifugo", MODULE)
    said = subprocess.run([str(program), "version"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def _started(rig: Rig, payload: bytes, count: int, engine: dict[str, str]) -> Audience:
    program, port = built.go("centrifugo", MODULE), free_port()
    env = {**engine, "CENTRIFUGO_HTTP_SERVER_PORT": str(port)}
    command = [str(program), "--config", str(built.PEERS / "centrifugo.json")]
    server = rig.spawn("centrifugo", command, core=SERVER_CORE, env=env)
    wait_for_port(server, port)
    trigger, ask = sockets.connected(port), _publishing(payload)
    trigger.sendall(ask)
    answer = sockets.drained(trigger)
    if b'"result"' not in answer:
        raise BenchError(f"Centrifugo refused to publish: {answer!r}")
    listeners = [_subscribed(port) for _ in range(count)]
    return Audience(server, listeners, trigger, ask, mark=f'{{"push":{{"channel":"{CHANNEL}"'.encode())


def _publishing(payload: bytes) -> bytes:
    body = b'{"channel":"%s","data":%s}' % (CHANNEL.encode(), payload)
    head = (
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    return (head % len(body)).encode() + body


def _subscribed(port: int) -> socket.socket:
    sock = sockets.opened(port, "/connection/websocket")
    for number, (command, about) in enumerate((("connect", {}), ("subscribe", {"channel": CHANNEL})), 1):
        sock.sendall(sockets.framed(json.dumps({"id": number, command: about}).encode()))
        answer = json.loads(sockets.next_payload(sock))
        if command not in answer:
            raise BenchError(f"Centrifugo refused to {command}: {answer}")
    return sock
