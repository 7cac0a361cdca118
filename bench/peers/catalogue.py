"""The peers: the version of each, and what each does not do that Callout does in the same benchmark.

A Go program is built in the version that is pinned here. npm packages are pinned by their lock files, Python packages
by ``requirements.lock``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import NamedTuple

from bench.peer_programs import GoProgram, locked_npm_version
from bench.peers import scipy_assignment, vroom

CENTRIFUGO = GoProgram("centrifugo", "github.com/centrifugal/centrifugo/v6", "v6.9.1")
NATS = GoProgram("nats-server", "github.com/nats-io/nats-server/v2", "v2.15.3")
TILE38 = GoProgram("tile38-server", "github.com/tidwall/tile38/cmd/tile38-server", "v0.0.0-20260106163517-48aa3d2f3034")
"""Tile38's release 1.37.0. Its Git tag does not begin with ``v``, so Go can name it only by its commit."""


class Peer(NamedTuple):
    """A program with which Callout is compared. ``omits`` says what it does not do, for the note of its row.
    ``read_version`` reads its version; None: it has no version of its own.
    """

    omits: str
    read_version: Callable[[], str] | None = None


PEERS = {
    "C write()": Peer("no WebSocket, no log, authenticates nobody: the limit of one system call per delivery"),
    "Node ws": Peer("authenticates nobody, no channels, no history", lambda: locked_npm_version("ws", "ws")),
    "Node ws, GEOADD": Peer(
        "authenticates nobody, checks nothing, keeps no time and no record",
        lambda: locked_npm_version("ws_location", "ws"),
    ),
    "Node ws, pub/sub": Peer(
        "authenticates nobody, checks nothing, no storage: what comes while a member is away is lost",
        lambda: locked_npm_version("rooms", "ws"),
    ),
    "socket.io, Redis adapter": Peer(
        "omits the same, and delivers at its own server without waiting for Redis",
        lambda: locked_npm_version("rooms", "socket.io"),
    ),
    "socket.io": Peer("authenticates nobody, no history", lambda: locked_npm_version("socketio", "socket.io")),
    "python-socketio": Peer("authenticates nobody, no history", lambda: version("python-socketio")),
    "Centrifugo": Peer("its default settings: no history; authenticates nobody here", CENTRIFUGO.read_version),
    "Centrifugo with history": Peer("history in memory; authenticates nobody here", CENTRIFUGO.read_version),
    "Centrifugo on Redis": Peer("history in Redis; authenticates nobody here", CENTRIFUGO.read_version),
    "NATS": Peer("no history, in memory; authenticates nobody here", NATS.read_version),
    "bare script": Peer("no checks, no offers, no recipients"),
    "PostgreSQL procedure": Peer(
        "one round trip, both cores; no check of the person, no indexes, no event to a client"
    ),
    "PostgreSQL transaction": Peer("BEGIN, four statements, COMMIT; both cores; omits what the procedure omits"),
    "GEOSEARCH": Peer("knows nobody's eligibility, blocks or earlier offers"),
    "VROOM": Peer("C++; plans and nothing else", vroom.read_version),
    "scipy": Peer("C; solves and nothing else", scipy_assignment.read_version),
    "Tile38": Peer("knows nobody's eligibility, blocks or earlier offers; in memory", TILE38.read_version),
}
