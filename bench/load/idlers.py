"""Servers with idle sockets: Callout's peers for memory and for the rate of opening."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version as installed
from importlib.util import find_spec

import msgspec

from bench import built
from bench.load import centrifugo
from bench.load.sockets import framed, upgrade_request
from bench.load.swarm import Opening, Turn
from bench.rig import SERVER_CORE, Child, Missing, Rig, free_port, wait_for_port


class Idle(msgspec.Struct):
    """One that was started: where it listens, how each connection is entered, and whether it pings meanwhile."""

    child: Child
    port: int
    openings: list[Opening]
    pings: bool = False


def node_ws(rig: Rig, count: int) -> Idle:
    """Node's ``ws``: a socket and no more. Raises Missing without node or npm."""
    return _fed(rig, ["node", str(built.npm("ws"))], "/", (), count)


def node_socketio(rig: Rig, count: int) -> Idle:
    """socket.io on Node, a session in the namespace. Raises Missing without node or npm."""
    return _fed(rig, ["node", str(built.npm("socketio"))], _SOCKETIO, _NAMESPACE, count)


def python_socketio(rig: Rig, count: int) -> Idle:
    """The same of python-socketio on uvicorn. Raises Missing when it is not installed."""
    if find_spec("socketio") is None:
        raise Missing("python-socketio is not installed (pip install 'callout[bench]')")
    return _fed(rig, [sys.executable, "-m", "bench.peers.socketio_broadcast"], _SOCKETIO, _NAMESPACE, count)


def centrifugo_memory(rig: Rig, count: int) -> Idle:
    """Centrifugo, each connection subscribed to a channel of its own. Raises Missing when it cannot be built."""
    program, port = built.go("centrifugo", centrifugo.MODULE), free_port()
    command = [str(program), "--config", str(built.PEERS / "centrifugo.json")]
    child = rig.spawn("centrifugo", command, core=SERVER_CORE, env={"CENTRIFUGO_HTTP_SERVER_PORT": str(port)})
    wait_for_port(child, port)
    request = upgrade_request("127.0.0.1", "/connection/websocket")
    return Idle(child, port, [Opening(request, _own_channel(number)) for number in range(count)])


PEERS: dict[str, Callable[[Rig, int], Idle]] = {
    "Node ws": node_ws,
    "Node socket.io": node_socketio,
    "python-socketio": python_socketio,
    "Centrifugo": centrifugo_memory,
}


def version(name: str) -> dict[str, str]:
    """Which version of a peer was measured."""
    if name == "Node ws":
        return {"ws": built.npm_version("ws", "ws")}
    if name == "Node socket.io":
        return {"socket.io": built.npm_version("socketio", "socket.io")}
    if name == "python-socketio":
        return {"python-socketio": installed("python-socketio")}
    return {"centrifugo": centrifugo.version()}


_SOCKETIO = "/socket.io/?EIO=4&transport=websocket"
_NAMESPACE = (Turn(b"", b"0"), Turn(framed(b"40"), b"40"))


def _fed(rig: Rig, command: list[str], path: str, turns: tuple[Turn, ...], count: int) -> Idle:
    """One that reads the payload of its broadcasts first, and says where it listens."""
    child = rig.spawn("peer", command, core=SERVER_CORE, feed=b"{}")
    port = child.first_line()["port"]
    return Idle(child, port, [Opening(upgrade_request("127.0.0.1", path), turns)] * count)


def _own_channel(number: int) -> tuple[Turn, Turn]:
    subscribe = b'{"id":2,"subscribe":{"channel":"idle%d"}}' % number
    return (
        Turn(framed(b'{"id":1,"connect":{}}'), b'{"id":1,"connect"'),
        Turn(framed(subscribe), b'{"id":2,"subscribe"'),
    )
