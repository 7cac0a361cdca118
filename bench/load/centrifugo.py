"""Centrifugo for comparison: it has a channel with history and recovery, and receives events by its HTTP API.

An event is one ``POST /api/publish`` on a connection that stays open; the 16 events of a burst are pipelined on it.
Compared with their deliveries the requests cost next to nothing. The listeners use its JSON protocol: connect, then
subscribe. Centrifugo joins the events that wait for a client into one message, with one event a line; ``reader.c``
counts lines.
"""

from __future__ import annotations

import json
import socket
import subprocess

from bench import peer_programs
from bench.load import sockets
from bench.load.fanout_target import FanoutTarget
from bench.rig import SERVER_CORE, BenchError, Rig, free_port, wait_for_port

MODULE = "github.com/centrifugal/centrifugo/v6@latest"
CHANNEL = "bench"


def start_with_memory(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start Centrifugo with the history in its own memory. Raise PeerUnavailable when it cannot be built."""
    return _start(rig, payload, count, {"CENTRIFUGO_ENGINE_TYPE": "memory"})


def start_with_redis(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start Centrifugo with the history in its own Redis, through which it also receives its events. That Redis runs on
    the same core as the Redis of Callout.

    Raise PeerUnavailable when Centrifugo cannot be built.
    """
    peer_programs.install_go_program("centrifugo", MODULE)
    url, _ = rig.start_redis()
    return _start(rig, payload, count, {"CENTRIFUGO_ENGINE_TYPE": "redis", "CENTRIFUGO_ENGINE_REDIS_ADDRESS": url})


def installed_version() -> str:
    """Return the version that the program prints."""
    program = peer_programs.install_go_program("centrifugo", MODULE)
    output = subprocess.run([str(program), "version"], capture_output=True, text=True, check=True)
    return output.stdout.strip()


def _start(rig: Rig, payload: bytes, count: int, engine: dict[str, str]) -> FanoutTarget:
    program, port = peer_programs.install_go_program("centrifugo", MODULE), free_port()
    env = {**engine, "CENTRIFUGO_HTTP_SERVER_PORT": str(port)}
    command = [str(program), "--config", str(peer_programs.PEERS / "centrifugo.json")]
    server = rig.spawn("centrifugo", command, core=SERVER_CORE, env=env)
    wait_for_port(server, port)
    trigger, request = sockets.open_tcp(port), _publish_request(payload)
    trigger.sendall(request)
    answer = sockets.read_available(trigger)
    if b'"result"' not in answer:
        raise BenchError(f"Centrifugo refused to publish: {answer!r}")
    listeners = [_open_subscriber(port) for _ in range(count)]
    return FanoutTarget(server, listeners, trigger, request, event_prefix=f'{{"push":{{"channel":"{CHANNEL}"'.encode())


def _publish_request(payload: bytes) -> bytes:
    body = b'{"channel":"%s","data":%s}' % (CHANNEL.encode(), payload)
    head = (
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    return (head % len(body)).encode() + body


def _open_subscriber(port: int) -> socket.socket:
    sock = sockets.open_websocket(port, "/connection/websocket")
    for number, (command, arguments) in enumerate((("connect", {}), ("subscribe", {"channel": CHANNEL})), 1):
        sock.sendall(sockets.text_frame(json.dumps({"id": number, command: arguments}).encode()))
        answer = json.loads(sockets.read_payload(sock))
        if command not in answer:
            raise BenchError(f"Centrifugo refused to {command}: {answer}")
    return sock
