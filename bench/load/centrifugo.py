"""Centrifugo for comparison: an event is published to a channel by its HTTP API, on a connection that stays open.

A single event is one ``POST /api/publish``. A burst is one ``POST /api/batch`` whose commands run in parallel. This is
Centrifugo's fastest form: it processes requests that are pipelined on one connection one after the other. The requests
cost very little compared with the deliveries. The listeners use Centrifugo's JSON protocol: connect, then subscribe.
Centrifugo joins the events that wait for a client into one message, with one event a line; ``reader.c`` counts lines.

It runs with its default settings, except that nobody has to authenticate and that pings are rare. It is also measured
with a history of events from which clients recover, in its memory or in a Redis of its own.
"""

from __future__ import annotations

import json
import socket

from bench import peer_programs
from bench.load import sockets
from bench.load.fanout_target import FanoutTarget
from bench.load.sockets import text_frame, upgrade_request
from bench.load.swarm import Handshake, HandshakeStep
from bench.peers.catalogue import CENTRIFUGO
from bench.ports import free_port
from bench.rig import SERVER_CORE, BenchError, Child, Rig, wait_for_port

CHANNEL = "bench"
PATH = "/connection/websocket"
DEFAULT_SETTINGS: dict[str, str] = {}
HISTORY = {
    "CENTRIFUGO_CHANNEL_WITHOUT_NAMESPACE_HISTORY_SIZE": "1000",
    "CENTRIFUGO_CHANNEL_WITHOUT_NAMESPACE_HISTORY_TTL": "300s",
    "CENTRIFUGO_CHANNEL_WITHOUT_NAMESPACE_FORCE_RECOVERY": "true",
}


def start_server(rig: Rig, settings: dict[str, str]) -> tuple[Child, int]:
    """Start Centrifugo with environment variables as settings, and return its process and port. Raise PeerUnavailable
    when it cannot be built.
    """
    program, port = CENTRIFUGO.install(), free_port()
    env = {**settings, "CENTRIFUGO_HTTP_SERVER_PORT": str(port)}
    command = [str(program), "--config", str(peer_programs.PEERS / "centrifugo.json")]
    server = rig.spawn("centrifugo", command, core=SERVER_CORE, env=env)
    wait_for_port(server, port)
    return server, port


def idle_handshake(number: int) -> Handshake:
    """Return the handshake of a client with a channel of its own."""
    subscribe = b'{"id":2,"subscribe":{"channel":"idle%d"}}' % number
    steps = (
        HandshakeStep(text_frame(b'{"id":1,"connect":{}}'), b'{"id":1,"connect"'),
        HandshakeStep(text_frame(subscribe), b'{"id":2,"subscribe"'),
    )
    return Handshake(upgrade_request("127.0.0.1", PATH), steps)


def start_with_defaults(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start Centrifugo without a history. Raise PeerUnavailable when it cannot be built."""
    return _start(rig, payload, count, DEFAULT_SETTINGS)


def start_with_memory(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start Centrifugo with the history in its own memory. Raise PeerUnavailable when it cannot be built."""
    return _start(rig, payload, count, HISTORY)


def start_with_redis(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start Centrifugo with the history in its own Redis, through which it also receives its events. That Redis runs on
    the same core as the Redis of Callout.

    Raise PeerUnavailable when Centrifugo cannot be built.
    """
    CENTRIFUGO.install()
    url, _ = rig.start_redis()
    engine = {"CENTRIFUGO_ENGINE_TYPE": "redis", "CENTRIFUGO_ENGINE_REDIS_ADDRESS": url}
    return _start(rig, payload, count, {**HISTORY, **engine})


def _start(rig: Rig, payload: bytes, count: int, settings: dict[str, str]) -> FanoutTarget:
    server, port = start_server(rig, settings)
    trigger = sockets.open_tcp(port)
    for events in (1, 2):
        trigger.sendall(publish_request(payload, events))
        answer = sockets.read_available(trigger)
        if b"200 OK" not in answer or b'"error"' in answer:
            raise BenchError(f"Centrifugo refused to publish: {answer!r}")
    recovers = "true" in settings.values()
    listeners = [_open_subscriber(port, recovers=recovers) for _ in range(count)]
    return FanoutTarget(
        server,
        listeners,
        trigger,
        lambda events: publish_request(payload, events),
        event_prefix=f'{{"push":{{"channel":"{CHANNEL}"'.encode(),
    )


def publish_request(payload: bytes, events: int) -> bytes:
    """Return the HTTP request that publishes the event once, or ``events`` times at the same time."""
    publication = b'{"channel":"%s","data":%s}' % (CHANNEL.encode(), payload)
    if events == 1:
        return _post(b"/api/publish", publication)
    commands = b",".join([b'{"publish":%s}' % publication] * events)
    return _post(b"/api/batch", b'{"parallel":true,"commands":[%s]}' % commands)


def _post(path: bytes, body: bytes) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (path, len(body)) + body


def _open_subscriber(port: int, *, recovers: bool) -> socket.socket:
    sock = sockets.open_websocket(port, PATH)
    for number, (command, arguments) in enumerate((("connect", {}), ("subscribe", {"channel": CHANNEL})), 1):
        sock.sendall(sockets.text_frame(json.dumps({"id": number, command: arguments}).encode()))
        answer = json.loads(sockets.read_payload(sock))
        if command not in answer:
            raise BenchError(f"Centrifugo refused to {command}: {answer}")
    if bool(answer["subscribe"].get("recoverable")) != recovers:
        raise BenchError(f"Centrifugo has other settings of recovery than were given: {answer}")
    return sock
