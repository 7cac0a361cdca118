"""The connection to Redis: the URL, the checks at start, and the Store through which scripts are called.

engine/store/shard.py has the connections to one primary, engine/store/shards.py which primary has a key.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from engine.errors import CalloutError, Indeterminate, Internal, NotFound, Unavailable
from engine.process.levels import Level
from engine.process.loops import not_cancelled
from engine.store import keys as key_names
from engine.store import library, scripts, server_checks
from engine.store.acknowledgement import Acknowledgements
from engine.store.cluster import ClusterShards
from engine.store.error_replies import ErrorReply, LibraryNotLoaded, Moved
from engine.store.pipeline import Pipeline
from engine.store.redis_url import create_client, parse_url, unreachable
from engine.store.replica_wait import PROBE_LIFETIME_MS
from engine.store.reply_words import error_of_reply
from engine.store.scripts import Args, Keys, Script, Value
from engine.store.shard import Shard, ShardContext, merge_reports
from engine.store.shards import Shards
from engine.store.stream_connection import Reads, StreamConnection
from engine.types import NEWEST_FORMAT, Cursor, Epoch, Zone, epoch_number

REOPEN_INTERVAL_S = 1.0
"""Seconds between two attempts to open the zones that are closed."""
READ_COMMANDS = frozenset(
    ["EXISTS", "GEOSEARCH", "GET", "HGET", "HGETALL", "HMGET", "HVALS", "LRANGE", "SISMEMBER", "SMEMBERS", "ZRANGE"]
)
"""The plain commands in use that change nothing."""
NO_ARGS: Args = {}

log = structlog.get_logger(__name__)


class UnsuitableServer(Exception):
    """Raised when the Redis at the URL cannot be used. ``problems`` lists every reason, a sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class ScriptReply(NamedTuple):
    """The OK reply of a script. ``repeated``: an earlier request with the same key did the command. ``seq`` is that of
    the event, ``version`` the job's new version, ``values`` the further values."""

    repeated: bool
    seq: int
    version: int
    values: list[bytes]


@dataclass(slots=True)
class ZoneStatus:
    """What this process knows of a zone. ``why``: why it is closed, "" if it is open; ``word``: the reply word with
    which lua/zone_open.lua refused to open it. ``shard`` is where it was opened."""

    shard: Shard = field(init=False)
    epoch: Epoch = field(default=Epoch(""))
    open: bool = False
    why: str = "not opened yet"
    word: str = ""
    seq: int = 0
    """The highest seq that this process has seen. If a server has a lower one, it has lost data."""
    format: int = 1
    """The format in which this process writes (engine/zone/upgrade.py)."""


SendCommand = Callable[..., Awaitable[Any]]
"""The type of ``submit`` and ``urgent`` of the packed connection."""

OpenZones = Callable[["Store", Shard, Pipeline, Sequence[Zone]], Awaitable[None]]
"""The type of the function that opens, on a connection to a shard, each of these zones whose log agrees with the
database (engine/zone/opening.py)."""


@dataclass(slots=True)
class Store:
    """A handle on one Redis: the connections to it, and the state of its zones."""

    url: str
    scripts: scripts.ScriptLibrary
    redis: Redis
    """For benchmarks and tests: it does not notice when its server becomes a replica."""
    zones: dict[Zone, ZoneStatus]
    open_zones: OpenZones
    acknowledgements: Acknowledgements = field(init=False)
    shards: Shards = field(init=False)
    is_abandoned: bool = False
    known_format: int = NEWEST_FORMAT
    closed_zones_task: asyncio.Task[None] | None = None
    reopening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def read_connection(self) -> Reads:
        """The connection for plain reads."""
        return self.shards.reads

    @property
    def is_up(self) -> bool:
        """Whether every primary can be reached now."""
        return all(shard.pipeline.is_up for shard in self.shards.all)

    @property
    def pipeline(self) -> Pipeline:
        """The packed connection to the primary of the first zone, for benchmarks and tests."""
        return next(iter(self.zones.values())).shard.pipeline

    def run_id_of(self, zone: Zone) -> str:
        """Return the ``run_id`` of the server process on which the zone was opened."""
        return self.zones[zone].shard.run_id

    async def run(self, zone: Zone, script: str, *, keys: Keys, args: Args = NO_ARGS) -> ScriptReply:
        """Run a script that changes something, with keys and arguments by the names in its header. Return when the
        acknowledgement level is reached.

        Raises the typed error of the reply word; ``Unavailable`` if nothing was done (the zone is closed or Redis is
        away); ``Indeterminate`` if the reply was lost or the level is not reached in time; TypeError for missing or
        unknown names.
        """
        verb = self.scripts[script]
        if verb.is_read_only:
            raise TypeError(f"{script} only reads: call Store.read")
        return await self._run(zone, verb, keys, args)

    async def read(self, zone: Zone, script: str, *, keys: Keys, args: Args = NO_ARGS) -> ScriptReply:
        """Run a script that only reads. Raises the same errors as ``run``, but Unavailable if the reply was lost."""
        verb = self.scripts[script]
        if not verb.is_read_only:
            raise TypeError(f"{script} changes something: call Store.run")
        try:
            return await self._run(zone, verb, keys, args)
        except Indeterminate as error:
            raise Unavailable(error.detail) from error

    async def _run(self, zone: Zone, verb: Script, keys: Keys, args: Args) -> ScriptReply:
        """Run a script with the zone's epoch. If Redis refuses the epoch as outdated, reopen the zone and repeat."""
        state = self._state(zone)
        epoch = state.epoch
        waits = not verb.is_read_only and self.acknowledgements.needs_replicas(verb.name)
        send = partial(state.shard.pipeline.submit, waits=waits, zone=state)
        try:
            reply = await self.send_call(send, verb.name, verb.call(keys, args, epoch))
        except Moved as moved:
            if moved.asks:  # a script must not run where only some keys of the zone are
                raise
            await self.shards.follow(moved)
            reply = [b"STALE_EPOCH"]  # an epoch is of one server
        if reply[0] == b"STALE_EPOCH":
            # The script refused before its first write, so a second call with the right epoch acts once.
            await self.reopen(zone, stale=epoch)
            state = self._state(zone)
            epoch = state.epoch
            send = partial(state.shard.pipeline.submit, waits=waits, zone=state)
            reply = await self.send_call(send, verb.name, verb.call(keys, args, epoch))
        if reply[0] != b"OK":
            raise error_of_reply(reply)
        parsed = _parse_ok_reply(reply, state)
        if not verb.is_read_only:
            await self.acknowledgements.wait_for_reply(zone, verb.name, Cursor(epoch, parsed.seq))
        return parsed

    async def acknowledge(self, zone: Zone, seq: int) -> None:
        """Wait until the event ``seq`` is acknowledged, 0: all events until now. For a reply that no script gives.

        Raises Unavailable, and Indeterminate if the acknowledgement level is not reached in time.
        """
        run_id = self.run_id_of(zone)
        if self.acknowledgements.level == "replica":
            await self.command("SET", key_names.write_probe(zone), 1, "PX", PROBE_LIFETIME_MS)
            if self.run_id_of(zone) != run_id:
                raise Indeterminate("Redis was replaced meanwhile; repeat with the same key")
        elif self.acknowledgements.level == "sql":
            epoch = self._state(zone).epoch
            head = seq or int(await self.read_connection.hget(key_names.zone_meta(zone), "seq") or 0)
            await self.acknowledgements.wait_for_reply(zone, "", Cursor(epoch, head))

    async def check_level(self) -> None:
        """Check again that the server gives the acknowledgement level: an operator may have changed its settings, or a
        replica is away. If it does not, disconnect: until it does, commands are unavailable. Raises CalloutError.
        """
        for shard in self.shards.all:
            if shard.pipeline.is_up and await shard.check_level(shard.pipeline.submit):
                shard.pipeline.disconnect()

    async def run_for_user(self, script: str, *, keys: Keys, args: Args) -> ScriptReply:
        """Run a script whose keys belong to a user and to no zone. Raises the same errors as ``run``."""
        call = self.scripts[script].call(keys, args)
        # On a single shard the command that follows waits for this write too.
        waits = self.shards.is_cluster and self.acknowledgements.needs_replicas(script)
        shard = self.shards.shard_of(next(iter(keys.values())))
        try:
            reply = await self.send_call(partial(shard.pipeline.submit, waits=waits), script, call)
        except Moved as moved:
            send = (await self.shards.follow(moved)).submit_after(moved)
            reply = await self.send_call(partial(send, waits=waits), script, call)
        if reply[0] != b"OK":
            raise error_of_reply(reply)
        return ScriptReply(reply[1] == b"1", int(reply[2]), int(reply[3]), reply[4:])

    async def run_without_epoch(self, send: SendCommand, script: str, *, keys: Keys, args: Args) -> list[Any]:
        """Run a script that has no epoch argument through ``send``. Return the raw reply."""
        return await self.send_call(send, script, self.scripts[script].call(keys, args))

    async def send_call(self, send: SendCommand, script: str, packed_call: Sequence[Value]) -> list[Any]:
        """Send a script's packed call. If Redis lacks the script's function, load the library and send it again."""
        try:
            try:
                reply = await send(*packed_call)
            except LibraryNotLoaded:
                await library.load_library(self.scripts, send)
                reply = await send(*packed_call)
        except ErrorReply as error:
            raise Internal(f"{script}: {self.scripts.locate(str(error))}") from error
        return cast("list[Any]", reply)

    async def load_libraries(self) -> None:
        """Load this release's library on each primary. Raises CalloutError."""
        for shard in self.shards.all:
            await library.load_library(self.scripts, shard.pipeline.submit)

    async def command(self, *command: Value) -> Any:
        """Run one plain command on the connection of the scripts; nothing is retried.

        If the reply is lost, Unavailable is raised for a command that only reads, because nothing was changed, and
        Indeterminate for every other command.
        """
        return await self.command_on(self.shards.shard_of(cast("str", command[1])), *command)

    async def command_on(self, shard: Shard, *command: Value) -> Any:
        """Run one plain command on ``shard``: one that has no key. Raises the same errors as ``command``."""
        waits = command[0] not in READ_COMMANDS and self.acknowledgements.needs_replicas()
        try:
            try:
                return await shard.pipeline.submit(*command, waits=waits)
            except Moved as moved:
                return await (await self.shards.follow(moved)).submit_after(moved)(*command, waits=waits)
        except Indeterminate as error:
            if command[0] in READ_COMMANDS:
                raise Unavailable(error.detail) from error
            raise
        except ErrorReply as error:
            raise Internal(f"{command[0]!s}: {error}") from error

    async def open_stream_connection(self, zone: Zone) -> StreamConnection:
        """Open a connection for a reader that tails the log of ``zone``, and of the other zones of its group
        (``Shards.groups``); close it with ``aclose``. Raises Unavailable."""
        return await self.shards.shard_of(key_names.log(zone)).open_stream_connection()

    def client_of(self, zone: Zone) -> Redis:
        """Return a new client of the zone's primary, without a socket timeout: for pub/sub. Raises Unavailable."""
        return self.shards.client_of(key_names.zone_meta(zone), socket_timeout=None, retry=Retry(NoBackoff(), 0))

    async def reopen(self, zone: Zone, *, stale: Epoch) -> None:
        """Compare Redis with the database, and open or close each zone of the shard, because Redis refused the epoch
        ``stale``, or because another shard has the zone now."""
        async with self.reopening:
            state, shard = self.zones[zone], self.shards.shard_of(key_names.zone_meta(zone))
            if state.epoch == stale or state.shard is not shard:
                await self.open_zones_of(shard, shard.pipeline)

    async def open_zones_of(self, shard: Shard, pipe: Pipeline) -> None:
        """Open the zones that are on ``shard``, on a connection to it."""
        await self.open_zones(self, shard, pipe, self.shards.zones_of(shard))

    def note_head(self, zone: Zone, head: Cursor) -> None:
        """Record a head that a reader of the log has seen. This process never accepts an older head afterwards."""
        state = self.zones[zone]
        if epoch_number(head.epoch) > epoch_number(state.epoch):
            state.epoch, state.seq = head.epoch, head.seq
        elif head.epoch == state.epoch:
            state.seq = max(state.seq, head.seq)

    def abandon(self) -> None:
        """Refuse everything at once from now on, because Redis has ended and will not come back for this process."""
        self.is_abandoned = True
        for shard in self.shards.all:
            shard.abandon()

    def close_zone(self, zone: Zone, reason: str, word: str = "") -> None:
        """Refuse every command in this zone from now on. Log ``reason`` unless the zone is already closed with it."""
        state = self.zones[zone]
        if state.open or (state.word != word if word else state.why != reason):
            log.error("zone_closed", zone=zone, why=reason)
        state.open, state.why, state.word = False, reason, word

    def _state(self, zone: Zone) -> ZoneStatus:
        """Return the state of an open zone. Raises NotFound for an unknown zone, Unavailable for a closed one."""
        state = self.zones.get(zone)
        if state is None:
            raise NotFound(f"There is no zone {zone} here")
        if not state.open:
            raise Unavailable(f"zone {zone} is closed: {state.why}")
        return state


def _parse_ok_reply(reply: list[Any], state: ZoneStatus) -> ScriptReply:
    """Parse an OK reply, and record its seq as seen."""
    seq = int(reply[2])
    state.seq = max(state.seq, seq)
    return ScriptReply(reply[1] == b"1", seq, int(reply[3]), reply[4:])


async def open_store(
    url: str, zones: Sequence[Zone], opener: OpenZones, *, level: Level = "fast", replicas: int = 0
) -> Store:
    """Connect, check the server and load the scripts. ``opener`` opens the zones on each new connection. ``level`` is
    the acknowledgement level.

    Raises UnsuitableServer with every problem, Unavailable if the server cannot be reached.
    """
    # One retry, not redis-py's ten: each of them lengthens the wait for a stopped server by the timeout.
    options: dict[str, Any] = {"socket_timeout": 5.0, "retry": Retry(NoBackoff(), 1)}
    client = create_client(url, **options)
    store = Store(url, scripts.load_installed_library(), client, {zone: ZoneStatus() for zone in zones}, opener)
    store.acknowledgements = Acknowledgements(level, replicas, zones, lambda zone: _read_archived(store, zone))
    context = ShardContext(store.scripts, store.acknowledgements, store.open_zones_of)
    store.shards = (ClusterShards if parse_url(url).kind == "cluster" else Shards)(url, zones, context)
    store.acknowledgements.read_report = lambda: merge_reports({s.name: s.report for s in store.shards.all})
    try:
        await store.shards.discover()
        await _check_servers(store, options)
        for zone, state in store.zones.items():
            state.shard = store.shards.shard_of(key_names.zone_meta(zone))
        await store.shards.open()
    except BaseException:
        await store.shards.close()
        await client.aclose()
        raise
    store.closed_zones_task = asyncio.create_task(_open_repaired_zones(store), name="closed zones")
    return store


async def _check_servers(store: Store, options: Mapping[str, Any]) -> None:
    """Check that every primary can be used. Raises UnsuitableServer with all problems, and Unavailable."""
    problems, wanted = [], store.acknowledgements
    for name, client in store.shards.clients(**options).items():
        try:
            found = await server_checks.server_problems(client, wanted.level, wanted.replicas)
        except RedisError as error:
            raise unreachable(name or store.url, error) from error
        finally:
            await client.aclose()
        problems += [f"{name}: {problem}" if name else problem for problem in found]
    if problems:
        raise UnsuitableServer(problems)


async def _open_repaired_zones(store: Store) -> None:
    """Try to open the closed zones, every ``REOPEN_INTERVAL_S`` seconds: the database may be back, or Redis repaired.
    Commands cannot trigger this, because commands in a closed zone are refused before they are sent to Redis.
    """
    while not_cancelled():
        await asyncio.sleep(REOPEN_INTERVAL_S)
        closed = [(zone, state) for zone, state in store.zones.items() if not state.open]
        for shard in {state.shard for _, state in closed if state.shard.pipeline.is_up}:
            zone, state = next(pair for pair in closed if pair[1].shard is shard)  # opens every zone of it that can be
            with contextlib.suppress(CalloutError, ErrorReply):
                await store.reopen(zone, stale=state.epoch)


async def close_store(store: Store) -> None:
    """Close all connections. Commands that wait fail as unavailable."""
    if store.closed_zones_task:
        store.closed_zones_task.cancel()
        await asyncio.gather(store.closed_zones_task, return_exceptions=True)
    await store.acknowledgements.close()
    await store.shards.close()
    await store.redis.aclose()


async def _read_archived(store: Store, zone: Zone) -> Cursor:
    """Return the last archived seq of the zone and the epoch, as Redis has them now. Raises Unavailable."""
    epoch, archived = await store.read_connection.hmget(key_names.zone_meta(zone), ["epoch", "archived"])
    return Cursor(Epoch((epoch or b"").decode()), int(archived or 0))
