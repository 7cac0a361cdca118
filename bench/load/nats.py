"""NATS for comparison: its subscribers are connected over WebSocket, and a publisher sends the events over TCP.

The subscribers speak the protocol of NATS in WebSocket messages. NATS joins the events that wait for a client into one
message; each event begins with a line ``MSG …``, and ``reader.c`` counts these lines.
"""

from __future__ import annotations

import socket

from bench import peer_programs
from bench.load import sockets
from bench.load.fanout_target import FanoutTarget
from bench.load.sockets import text_frame, upgrade_request
from bench.load.swarm import Handshake, HandshakeStep
from bench.peers.catalogue import NATS
from bench.ports import free_port
from bench.rig import SERVER_CORE, BenchError, Child, Rig, wait_for_port

SUBJECT = b"bench"
CONNECT = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
"""The first message of a client. Without ``verbose`` the server replies only to PING."""


def start_server(rig: Rig) -> tuple[Child, int, int]:
    """Start NATS, and return its process, its TCP port and the port of its WebSockets. Raise PeerUnavailable when it
    cannot be built.
    """
    program, port, websocket_port = NATS.install(), free_port(), free_port()
    command = [str(program), "--config", str(peer_programs.PEERS / "nats.conf")]
    env = {"NATS_PORT": str(port), "NATS_WEBSOCKET_PORT": str(websocket_port)}
    server = rig.spawn("nats", command, core=SERVER_CORE, env=env)
    wait_for_port(server, port)
    wait_for_port(server, websocket_port)
    return server, port, websocket_port


def idle_handshake(number: int) -> Handshake:
    """Return the handshake of a client that subscribes to a subject of its own. The server sends the first message."""
    subscribe = CONNECT + b"SUB idle.%d 1\r\nPING\r\n" % number
    return Handshake(
        upgrade_request("127.0.0.1", "/"), (HandshakeStep(b"", b"INFO"), HandshakeStep(text_frame(subscribe), b"PONG"))
    )


def start(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start NATS with ``count`` subscribers. Raise PeerUnavailable when it cannot be built."""
    server, port, websocket_port = start_server(rig)
    listeners = [_open_subscriber(websocket_port) for _ in range(count)]
    publication = b"PUB %b %d\r\n%b\r\n" % (SUBJECT, len(payload), payload)
    return FanoutTarget(
        server, listeners, _open_publisher(port), lambda events: publication * events, event_prefix=b"MSG %b " % SUBJECT
    )


def _open_publisher(port: int) -> socket.socket:
    sock = sockets.open_tcp(port)
    _require_start(sockets.read_available(sock), b"INFO")
    sock.sendall(CONNECT + b"PING\r\n")
    _require_start(sockets.read_available(sock), b"PONG")
    return sock


def _open_subscriber(port: int) -> socket.socket:
    sock = sockets.open_websocket(port, "/")
    _require_start(sockets.read_payload(sock), b"INFO")
    sock.sendall(text_frame(CONNECT + b"SUB %b 1\r\nPING\r\n" % SUBJECT))
    _require_start(sockets.read_payload(sock), b"PONG")
    return sock


def _require_start(reply: bytes, start: bytes) -> None:
    if not reply.startswith(start):
        raise BenchError(f"NATS answered {reply[:200]!r} instead of {start.decode()}")
