"""Servers with idle sockets, with which Callout's memory and its rate of new connections are compared."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from importlib.util import find_spec

import msgspec

from bench import peer_programs
from bench.load import centrifugo, nats
from bench.load.sockets import upgrade_request
from bench.load.swarm import NAMESPACE_STEPS, SOCKETIO_PATH, Handshake, HandshakeStep
from bench.rig import SERVER_CORE, Child, PeerUnavailable, Rig


class IdleServer(msgspec.Struct):
    """A running server: its port, the handshake of each connection, and whether the server sends
    pings to idle connections.
    """

    child: Child
    port: int
    handshakes: list[Handshake]
    pings: bool = False


def start_node_ws(rig: Rig, count: int) -> IdleServer:
    """Start Node's ``ws``, with plain sockets. Raise PeerUnavailable without node or npm."""
    return _start_with_payload(rig, ["node", str(peer_programs.install_npm_server("ws"))], "/", (), count)


def start_node_socketio(rig: Rig, count: int) -> IdleServer:
    """Start socket.io on Node, with each connection in the default namespace. Raise PeerUnavailable without node
    or npm.
    """
    return _start_with_payload(
        rig, ["node", str(peer_programs.install_npm_server("socketio"))], SOCKETIO_PATH, NAMESPACE_STEPS, count
    )


def start_python_socketio(rig: Rig, count: int) -> IdleServer:
    """Start python-socketio on uvicorn, with each connection in the default namespace. Raise PeerUnavailable when it is
    not installed.
    """
    if find_spec("socketio") is None:
        raise PeerUnavailable("python-socketio is not installed (pip install 'callout[bench]')")
    return _start_with_payload(
        rig, [sys.executable, "-m", "bench.peers.socketio_broadcast"], SOCKETIO_PATH, NAMESPACE_STEPS, count
    )


def start_centrifugo(rig: Rig, count: int, *, settings: dict[str, str]) -> IdleServer:
    """Start Centrifugo, with each connection subscribed to its own channel. Raise PeerUnavailable when it cannot be
    built.
    """
    child, port = centrifugo.start_server(rig, settings)
    return IdleServer(child, port, [centrifugo.idle_handshake(number) for number in range(count)])


def start_nats(rig: Rig, count: int) -> IdleServer:
    """Start NATS, with each connection subscribed to its own subject. Raise PeerUnavailable when it cannot be built."""
    child, _, port = nats.start_server(rig)
    return IdleServer(child, port, [nats.idle_handshake(number) for number in range(count)])


PEER_STARTERS: dict[str, Callable[[Rig, int], IdleServer]] = {
    "Node ws": start_node_ws,
    "socket.io": start_node_socketio,
    "python-socketio": start_python_socketio,
    "Centrifugo": functools.partial(start_centrifugo, settings=centrifugo.DEFAULT_SETTINGS),
    "Centrifugo with history": functools.partial(start_centrifugo, settings=centrifugo.HISTORY),
    "NATS": start_nats,
}


def _start_with_payload(
    rig: Rig, command: list[str], path: str, steps: tuple[HandshakeStep, ...], count: int
) -> IdleServer:
    """Start a server that first reads the payload of its broadcasts from its input and then prints its port."""
    child = rig.spawn("peer", command, core=SERVER_CORE, feed=b"{}")
    port = child.read_first_line()["port"]
    return IdleServer(child, port, [Handshake(upgrade_request("127.0.0.1", path), steps)] * count)
