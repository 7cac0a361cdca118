"""Reaching Redis: the URL, the checks at start, and the Store that scripts are called through.

Three kinds of connections, for three needs: the packed one for everything that changes state (nothing retried), one
for plain reads, and one of its own for each that reads a log without end (``line()``). Whichever meets another server
behind the name first makes the others look again: what is read is of the server that commands are done at.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from engine.errors import (
    BY_WORD,
    CalloutError,
    Indeterminate,
    Internal,
    NotFound,
    OtherBlueprint,
    StaleCode,
    Unavailable,
)
from engine.process.loops import not_cancelled
from engine.store import scripts
from engine.store.pipeline import NotLoaded, Pipeline, ServerSaid
from engine.store.scripts import Args, Keys, Script, Value
from engine.store.stream_connection import Reads, StreamConnection, told
from engine.types import Cursor, Epoch, Zone, number_of

MIN_REDIS = (7, 0)
MIN_VALKEY = (8, 0)
LOOK_AGAIN_S = 1.0
READS = frozenset(["EXISTS", "GEOSEARCH", "GET", "HGET", "HMGET", "HVALS", "LRANGE", "SISMEMBER", "SMEMBERS", "ZRANGE"])
"""Plain commands of ours that change nothing."""
NOTHING: Args = {}

log = structlog.get_logger(__name__)


class ServerUnfit(Exception):
    """The Redis behind the URL cannot be used; ``problems`` names everything that is wrong at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class Done(NamedTuple):
    """A script's OK: whether it was remembered rather than done now, the event's seq, the new version, the rest."""

    repeated: bool
    seq: int
    version: int
    rest: list[bytes]


@dataclass(slots=True)
class ZoneState:
    """What this process believes of a zone. ``why`` says in words why it is closed."""

    epoch: Epoch = field(default=Epoch(""))
    open: bool = False
    why: str = "not opened yet"
    seq: int = 0
    """The highest seq this process has been given: an emptied server cannot pass for a new one."""


Send = Callable[..., Awaitable[Any]]
"""``submit`` or ``urgent`` of the packed connection."""

Opener = Callable[["Store", Pipeline, str], Awaitable[None]]
"""Decides which zones open on a connection, given the server's run_id (engine/zone/opening.py)."""


@dataclass(slots=True)
class Store:
    """Handles to one Redis, and what is believed of its zones."""

    url: str
    scripts: scripts.Library
    redis: Redis
    """For benches and tests: it does not notice that its server is no primary any more."""
    zones: dict[Zone, ZoneState]
    opener: Opener
    packed: Pipeline = field(init=False)
    reads: Reads = field(init=False)
    lines: weakref.WeakSet[StreamConnection] = field(default_factory=weakref.WeakSet)
    run_id: str = ""
    keeper: asyncio.Task[None] | None = None
    reopening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, zone: Zone, script: str, *, keys: Keys, args: Args = NOTHING) -> Done:
        """Run a script that changes something, with keys and arguments by the names in its header.

        Raises the typed error of the reply word; ``Unavailable`` where nothing was done (zone closed, Redis away);
        ``Indeterminate`` where the reply was lost. TypeError for names that the header does not have, or has besides.
        """
        verb = self.scripts[script]
        if verb.reads:
            raise TypeError(f"{script} only reads: call Store.read")
        return await self._run(zone, verb, keys, args)

    async def read(self, zone: Zone, script: str, *, keys: Keys, args: Args = NOTHING) -> Done:
        """Run a script that only reads. Raises as ``run``, but ``Unavailable`` where the reply was lost."""
        verb = self.scripts[script]
        if not verb.reads:
            raise TypeError(f"{script} changes something: call Store.run")
        try:
            return await self._run(zone, verb, keys, args)
        except Indeterminate as error:
            raise Unavailable(error.detail) from error

    async def _run(self, zone: Zone, verb: Script, keys: Keys, args: Args) -> Done:
        state = self._state(zone)
        reply = await self._send(self.packed.submit, verb.name, verb.call(keys, args, state.epoch))
        if reply[0] == b"OK":
            return _done(reply, state)
        if reply[0] == b"STALE_EPOCH":
            # Refused before its first write, so asking again with the right epoch does it once.
            await self.reopen(zone, stale=state.epoch)
            again = verb.call(keys, args, self._state(zone).epoch)
            reply = await self._send(self.packed.submit, verb.name, again)
            if reply[0] == b"OK":
                return _done(reply, state)
        raise refusal(reply)

    async def ask(self, send: Send, script: str, *, keys: Keys, args: Args) -> list[Any]:
        """Run a script that takes no epoch by ``send``, and give its reply as it came."""
        return await self._send(send, script, self.scripts[script].call(keys, args))

    async def _send(self, send: Send, script: str, call: Sequence[Value]) -> list[Any]:
        """A function that is not there did nothing: it is loaded, and asked again."""
        try:
            try:
                reply = await send(*call)
            except NotLoaded:
                await self.load(send)
                reply = await send(*call)
        except ServerSaid as error:
            raise Internal(f"{script}: {self.scripts.locate(str(error))}") from error
        return cast("list[Any]", reply)

    async def load(self, send: Send, *, alone: bool = False) -> None:
        """See that the server has our library; ``alone``: and none of another release.

        Only who starts removes others'. A process of another release that still runs finds its own gone and loads it
        again, and would otherwise take ours away in turn.
        """
        found = [entry[1].decode() for entry in await send("FUNCTION", "LIST", "LIBRARYNAME", scripts.PREFIX + "*")]
        if self.scripts.name not in found:
            with _unless("already exists"):
                await send("FUNCTION", "LOAD", self.scripts.source)
        for other in found if alone else ():
            if other != self.scripts.name:
                with _unless("not found"):
                    await send("FUNCTION", "DELETE", other)

    async def command(self, *command: Value) -> Any:
        """One plain command on the packed connection, nothing retried. One that only reads did nothing where its reply
        was lost: Unavailable, not Indeterminate.
        """
        try:
            return await self.packed.submit(*command)
        except Indeterminate as error:
            if command[0] in READS:
                raise Unavailable(error.detail) from error
            raise
        except ServerSaid as error:
            raise Internal(f"{command[0]!s}: {error}") from error

    async def line(self) -> StreamConnection:
        """A connection for who reads the log without end; let it go with ``aclose``. Raises Unavailable."""
        line = StreamConnection(_connector(self.url), self._same_server)
        self.lines.add(line)
        await line.open()
        return line

    def reader(self) -> Redis:
        """A new client without a socket timeout, for blocking reads; close it with ``aclose``."""
        return client_of(self.url, socket_timeout=None, retry=Retry(NoBackoff(), 0))

    async def reopen(self, zone: Zone, *, stale: Epoch) -> None:
        """Look again at the server after it contradicted our epoch. The zone may be found closed."""
        async with self.reopening:
            if self.zones[zone].epoch == stale:
                await self.opener(self, self.packed, self.run_id)

    def saw(self, zone: Zone, head: Cursor) -> None:
        """Who reads the log has seen ``head``: this process never goes back behind it."""
        state = self.zones[zone]
        if number_of(head.epoch) > number_of(state.epoch):
            state.epoch, state.seq = head.epoch, head.seq
        elif head.epoch == state.epoch:
            state.seq = max(state.seq, head.seq)

    def leave(self) -> None:
        """The server is not, or no more, the one that commands are done at: nothing more is read from it."""
        self.reads.hang_up()
        for line in list(self.lines):
            line.hang_up()

    async def _same_server(self, pipe: Pipeline) -> None:
        """A new connection to read from leads to a primary, and to the one that commands are done at."""
        run_id = await _primary(pipe)
        if run_id != self.run_id:
            if self.packed.up:
                self.packed.hang_up()
            raise Unavailable("another server answers than the one that commands are done at")

    def close_zone(self, zone: Zone, why: str) -> None:
        """Refuse everything in this zone from now on, and say so once."""
        state = self.zones[zone]
        if state.open or state.why != why:
            log.error("zone_closed", zone=zone, why=why)
        state.open, state.why = False, why

    def _state(self, zone: Zone) -> ZoneState:
        state = self.zones.get(zone)
        if state is None:
            raise NotFound(f"There is no zone {zone} here")
        if not state.open:
            raise Unavailable(f"zone {zone} is closed: {state.why}")
        return state


def _done(reply: list[Any], state: ZoneState) -> Done:
    seq = int(reply[2])
    state.seq = max(state.seq, seq)
    return Done(reply[1] == b"1", seq, int(reply[3]), reply[4:])


def refusal(reply: Sequence[Any]) -> Exception:
    """The typed error of a script's reply word. A remembered refusal carries ``repeated``."""
    word = reply[0].decode()
    if word == "STALE_EPOCH":
        return Unavailable("the zone's log began a new epoch")
    if word == "OTHER_BLUEPRINT":
        return OtherBlueprint(reply[1].decode())
    if word == "STALE_CODE":
        return StaleCode()
    kind = BY_WORD.get(word)
    if kind is None:
        return Internal(f"unmapped reply {word}")
    error = kind(repeated=len(reply) > 1 and reply[1] == b"1")
    error.reply = list(reply[2:])
    return error


async def open_store(url: str, zones: Sequence[Zone], opener: Opener) -> Store:
    """Connect, check the server and load the scripts. Zones are opened by ``opener``, on each new connection.

    Raises ServerUnfit with all problems at once, Unavailable when the server cannot be reached.
    """
    # One retry, not redis-py's ten: with each of them the wait for a server that is stopped grows by the timeout.
    client = client_of(url, socket_timeout=5.0, retry=Retry(NoBackoff(), 1))
    store = Store(url, scripts.installed(), client, {zone: ZoneState() for zone in zones}, opener)
    try:
        problems = await server_problems(client)
    except RedisError as error:
        await client.aclose()
        raise Unavailable(f"Redis at {_shown(url)} cannot be reached: {error}") from error
    if problems:
        await client.aclose()
        raise ServerUnfit(problems)
    store.reads = Reads(_connector(url), store._same_server)
    store.packed = Pipeline(_connector(url), lambda pipe: _prepare(store, pipe), store.leave)
    await store.packed.open()
    await store.reads.open()
    store.keeper = asyncio.create_task(_look_again(store), name="closed zones")
    return store


async def _look_again(store: Store) -> None:
    """Ask anew about zones found closed: the archive may be back, or Redis rebuilt. Commands would not ask: they are
    refused before they reach Redis.
    """
    while not_cancelled():
        await asyncio.sleep(LOOK_AGAIN_S)
        shut = [(zone, state) for zone, state in store.zones.items() if not state.open]
        if shut and store.packed.up:
            zone, state = shut[0]  # the opener looks at all of them
            with contextlib.suppress(CalloutError, ServerSaid):
                await store.reopen(zone, stale=state.epoch)


async def close_store(store: Store) -> None:
    """Close all connections. What waits fails as unavailable."""
    if store.keeper:
        store.keeper.cancel()
        await asyncio.gather(store.keeper, return_exceptions=True)
    await store.packed.close()
    await store.reads.aclose()
    await store.redis.aclose()


async def server_problems(client: Redis) -> list[str]:
    """What makes this server unfit, one sentence each; empty when it is fit.

    Eviction would drop jobs without a word, and a server without persistence loses acknowledged claims with its
    process; both are refused rather than warned of.
    """
    info = await client.info()
    problems = []
    name, version = _server(info)
    if version < (MIN_VALKEY if name == "valkey" else MIN_REDIS):
        problems.append(f"{name} {'.'.join(map(str, version))} is too old: Redis >= 7.0 or Valkey >= 8")
    if info.get("maxmemory_policy") != "noeviction":
        problems.append(f"maxmemory-policy is {info.get('maxmemory_policy')}: must be noeviction")
    if info.get("role") not in (None, "master"):
        problems.append(f"the server is a {info.get('role')}: connect to the primary")
    if not info.get("aof_enabled") and not await _snapshots(client):
        problems.append("no persistence: set appendonly yes (or save)")
    return problems


async def _snapshots(client: Redis) -> bool:
    try:
        return bool((await client.config_get("save")).get("save"))
    except ResponseError:
        return True  # managed servers hide CONFIG; their persistence is the operator's to know


def _server(info: dict[str, Any]) -> tuple[str, tuple[int, int]]:
    name = "valkey" if "valkey_version" in info else "redis"
    major, minor = str(info[f"{name}_version"]).split(".")[:2]
    return name, (int(major), int(minor))


async def _prepare(store: Store, pipe: Pipeline) -> None:
    """Before any mutation travels on a new connection: scripts are loaded, and each zone compared and opened."""
    try:
        run_id = await _primary(pipe)
    except Unavailable:
        store.leave()
        raise
    await store.load(pipe.urgent, alone=not store.run_id)
    if store.run_id not in ("", run_id):
        store.leave()
    store.run_id = run_id
    await store.opener(store, pipe, store.run_id)


async def _primary(pipe: Pipeline) -> str:
    """The ``run_id`` of the server at the other end. Raises Unavailable where that is a replica."""
    info = told(await pipe.urgent("INFO", "server"))
    if told(await pipe.urgent("INFO", "replication"))["role"] != "master":
        raise Unavailable("a replica answers: no command can be done there")
    return info["run_id"]


@contextlib.contextmanager
def _unless(said: str) -> Iterator[None]:
    """Another process may do the same at this moment, and be first."""
    try:
        yield
    except ServerSaid as error:
        if said not in str(error):
            raise


def _connector(url: str) -> Callable[[Pipeline], Awaitable[None]]:
    parts = urlsplit(url)

    async def connect(pipe: Pipeline) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5.0):
            if parts.scheme == "unix":
                await loop.create_unix_connection(lambda: pipe, parts.path)
            else:
                tls = ssl.create_default_context() if parts.scheme == "rediss" else None
                await loop.create_connection(lambda: pipe, parts.hostname or "127.0.0.1", parts.port or 6379, ssl=tls)
            if parts.password:
                user = [unquote(parts.username)] if parts.username else []
                await pipe.urgent("AUTH", *user, unquote(parts.password))
            if parts.scheme != "unix" and parts.path.strip("/"):
                await pipe.urgent("SELECT", parts.path.strip("/"))

    return connect


def client_of(url: str, **options: Any) -> Redis:
    """A redis-py client that hands stream entries over as they come: building a dict of each would be half the
    cost of tailing the log.
    """
    client = Redis.from_url(url, protocol=2, **options)
    for command in ("XREAD", "XRANGE"):
        client.set_response_callback(command, cast("Any", _as_it_comes))
    return client


def _as_it_comes(reply: Any, **_: Any) -> Any:
    return reply


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}:{parts.port or 6379}"
