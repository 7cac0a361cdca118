"""Servers with idle sockets, with which Callout's memory and its rate of new connections are compared."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version as package_version
from importlib.util import find_spec

import msgspec

from bench import peer_programs
from bench.load import centrifugo
from bench.load.sockets import text_frame, upgrade_request
from bench.load.swarm import Handshake, HandshakeStep
from bench.rig import SERVER_CORE, Child, PeerUnavailable, Rig, free_port, wait_for_port


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
        rig, ["node", str(peer_programs.install_npm_server("socketio"))], _SOCKETIO_PATH, _NAMESPACE_STEPS, count
    )


def start_python_socketio(rig: Rig, count: int) -> IdleServer:
    """Start python-socketio on uvicorn, with each connection in the default namespace. Raise PeerUnavailable when it is
    not installed.
    """
    if find_spec("socketio") is None:
        raise PeerUnavailable("python-socketio is not installed (pip install 'callout[bench]')")
    return _start_with_payload(
        rig, [sys.executable, "-m", "bench.peers.socketio_broadcast"], _SOCKETIO_PATH, _NAMESPACE_STEPS, count
    )


def start_centrifugo(rig: Rig, count: int) -> IdleServer:
    """Start Centrifugo, with each connection subscribed to its own channel. Raise PeerUnavailable when it cannot be
    built.
    """
    program, port = peer_programs.install_go_program("centrifugo", centrifugo.MODULE), free_port()
    command = [str(program), "--config", str(peer_programs.PEERS / "centrifugo.json")]
    child = rig.spawn("centrifugo", command, core=SERVER_CORE, env={"CENTRIFUGO_HTTP_SERVER_PORT": str(port)})
    wait_for_port(child, port)
    request = upgrade_request("127.0.0.1", "/connection/websocket")
    return IdleServer(child, port, [Handshake(request, _own_channel_steps(number)) for number in range(count)])


PEER_STARTERS: dict[str, Callable[[Rig, int], IdleServer]] = {
    "Node ws": start_node_ws,
    "Node socket.io": start_node_socketio,
    "python-socketio": start_python_socketio,
    "Centrifugo": start_centrifugo,
}


def peer_version(name: str) -> dict[str, str]:
    """Return the version of a measured peer, by the name of its package."""
    if name == "Node ws":
        return {"ws": peer_programs.locked_npm_version("ws", "ws")}
    if name == "Node socket.io":
        return {"socket.io": peer_programs.locked_npm_version("socketio", "socket.io")}
    if name == "python-socketio":
        return {"python-socketio": package_version("python-socketio")}
    return {"centrifugo": centrifugo.installed_version()}


_SOCKETIO_PATH = "/socket.io/?EIO=4&transport=websocket"
_NAMESPACE_STEPS = (HandshakeStep(b"", b"0"), HandshakeStep(text_frame(b"40"), b"40"))


def _start_with_payload(
    rig: Rig, command: list[str], path: str, steps: tuple[HandshakeStep, ...], count: int
) -> IdleServer:
    """Start a server that first reads the payload of its broadcasts and then writes its port."""
    child = rig.spawn("peer", command, core=SERVER_CORE, feed=b"{}")
    port = child.read_first_line()["port"]
    return IdleServer(child, port, [Handshake(upgrade_request("127.0.0.1", path), steps)] * count)


def _own_channel_steps(number: int) -> tuple[HandshakeStep, HandshakeStep]:
    subscribe = b'{"id":2,"subscribe":{"channel":"idle%d"}}' % number
    return (
        HandshakeStep(text_frame(b'{"id":1,"connect":{}}'), b'{"id":1,"connect"'),
        HandshakeStep(text_frame(subscribe), b'{"id":2,"subscribe"'),
    )
