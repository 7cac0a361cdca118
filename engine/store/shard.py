"""A shard: one primary of Redis, and this process's connections to it. A Redis that is no cluster is one shard."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from engine.errors import Unavailable
from engine.process.levels import LevelReport
from engine.store import server_checks
from engine.store.acknowledgement import Acknowledgements
from engine.store.error_replies import Moved
from engine.store.library import load_library
from engine.store.pipeline import Pipeline
from engine.store.redis_url import Connect
from engine.store.replica_wait import ReplicaWait
from engine.store.scripts import ScriptLibrary, Value
from engine.store.stream_connection import ReadConnection, StreamConnection, parse_info


class ShardContext(NamedTuple):
    """What the shards of a store share. ``open_zones`` opens the zones of a shard on a new connection to it."""

    library: ScriptLibrary
    acknowledgements: Acknowledgements
    open_zones: Callable[[Shard, Pipeline], Awaitable[None]]


class Shard:
    """The connections to one primary: one for commands that change state, one for plain reads, and one for each reader
    that tails a log. All of them lead to the same server process: when one finds that another server answers at the
    address, the others reconnect. ``run_id`` is that of the process.
    """

    def __init__(self, name: str, connect: Connect, context: ShardContext) -> None:
        self.name = name
        self.run_id = ""
        self.report = LevelReport()
        """The result of checking whether the server gives the acknowledgement level."""
        self._context = context
        self._connect = connect
        self.pipeline = Pipeline(connect, self._prepare, self.disconnect_readers)
        self.read_connection = ReadConnection(connect, self._require_same_server)
        self._stream_connections: weakref.WeakSet[StreamConnection] = weakref.WeakSet()

    def set_probe_key(self, key: str) -> None:
        """Let the packed writes of level ``replica`` end with a write of ``key``, which the shard must have."""
        replicas = self._context.acknowledgements.replicas
        self.pipeline.replica_wait = ReplicaWait(replicas, key) if replicas else None

    async def open(self, *, keeps_trying: bool = False) -> None:
        """Connect, and reconnect until ``close``. Raises Unavailable if the first connection fails, unless the shard
        ``keeps_trying``."""
        await self.pipeline.open(keeps_trying=keeps_trying)
        await self.read_connection.open(keeps_trying=keeps_trying)

    async def close(self) -> None:
        """Close all connections. Commands that wait fail as unavailable."""
        await self.pipeline.close()
        await self.read_connection.aclose()
        for connection in list(self._stream_connections):
            connection.disconnect()

    def abandon(self) -> None:
        """Refuse everything at once from now on, because the server has ended for good."""
        self.pipeline.abandon()
        for connection in (self.read_connection, *self._stream_connections):
            connection.abandon()

    async def open_stream_connection(self) -> StreamConnection:
        """Open a connection for a reader that tails logs; close it with ``aclose``. Raises Unavailable."""
        connection = StreamConnection(self._connect, self._require_same_server)
        self._stream_connections.add(connection)
        try:
            await connection.open()
        except BaseException:
            await connection.aclose()
            raise
        return connection

    def disconnect_readers(self) -> None:
        """Close the connections for reads so that they reconnect. Call this when the server of the commands changes."""
        self.read_connection.disconnect()
        for connection in list(self._stream_connections):
            connection.disconnect()

    async def check_level(self, send: Callable[..., Awaitable[Any]]) -> tuple[str, ...]:
        """Store the report of the server that ``send`` reaches, and return its problems."""
        level = self._context.acknowledgements
        self.report = await server_checks.read_level_report(send, level.level, level.replicas)
        return self.report.problems

    def submit_after(self, moved: Moved) -> Callable[..., Awaitable[Any]]:
        """Return the function that sends a command to this shard after another node refused it with ``moved``."""
        return self._submit_asking if moved.asks else self.pipeline.submit

    def _submit_asking(self, *command: Value, waits: bool = False) -> Awaitable[Any]:
        """Submit one command for a slot that is about to move here."""
        self.pipeline.submit("ASKING").add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        return self.pipeline.submit(*command, waits=waits)

    async def _prepare(self, pipe: Pipeline) -> None:
        """Make a new connection ready for mutations: check that the server gives the acknowledgement level, load the
        scripts, and open the zones that agree with the database.
        """
        try:
            run_id = await _primary_run_id(pipe)
        except Unavailable:
            self.disconnect_readers()
            raise
        if problems := await self.check_level(pipe.submit_urgent):
            raise Unavailable("; ".join(problems))
        await load_library(self._context.library, pipe.submit_urgent, delete_others=not self.run_id)
        if self.run_id not in ("", run_id):
            self.disconnect_readers()
        self.run_id = run_id
        await self._context.open_zones(self, pipe)

    async def _require_same_server(self, pipe: Pipeline) -> None:
        """Check that a new connection for reads leads to the primary that runs the commands. Raises Unavailable."""
        run_id = await _primary_run_id(pipe)
        if run_id != self.run_id:
            if self.pipeline.is_up:
                self.pipeline.disconnect()
            raise Unavailable("another server answers than the one that runs the commands")


async def _primary_run_id(pipe: Pipeline) -> str:
    """Return the ``run_id`` of the connected server. Raises Unavailable if the server is a replica."""
    info = parse_info(await pipe.submit_urgent("INFO", "server"))
    if parse_info(await pipe.submit_urgent("INFO", "replication"))["role"] != "master":
        raise Unavailable("a replica answers: no command can be done there")
    return info["run_id"]


def merge_reports(reports: dict[str, LevelReport]) -> LevelReport:
    """Return one report from the reports of all shards, which ``reports`` maps by their names. If there are several
    shards, each entry begins with the name of its shard.
    """
    several = len(reports) > 1

    def entries(field: str) -> tuple[str, ...]:
        found: list[tuple[str, Any]] = [(name, text) for name, each in reports.items() for text in getattr(each, field)]
        return tuple(f"{name}: {text}" if several else text for name, text in found)

    return LevelReport(entries("checks"), entries("problems"), entries("warnings"))
