"""The archiver: from each zone's log into SQL, in order, once; then what is archived and old leaves the log.

Nothing waits for it and nothing fails with it: a database that is away makes the log longer, that is all. What is
told to Redis after a commit (how far the archive is, which jobs may go) is told again after any doubt, since each
such word is true however often it is said.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from engine.archive import apply, reader
from engine.archive.quarantine import Taking
from engine.archive.reader import Checkpoint, Position
from engine.errors import CalloutError
from engine.events import Event
from engine.process.loops import not_cancelled
from engine.store import keys
from engine.store.stream_connection import StreamConnection
from engine.types import Epoch, JobId, TechnicianId, UserId, Zone, number_of
from engine.zone import log as zone_log
from engine.zone import opening as zones
from engine.zone.leases import Leases

if TYPE_CHECKING:
    from engine.runtime import Engine

BATCH = 250
"""Events a transaction: some 5 ms of this process at a time, which others in it have to wait for."""
BLOCK_MS = 1_000
GATHER_S = 0.05
"""Between batches that are not full: one commit for the events of a moment instead of one for each."""
TRIM_EVERY_S = 5.0
SNAPSHOT_EVERY_S = 30.0
SNAPSHOT_PAGE = 500
SNAPSHOT_AT_ONCE = 16
SNAPSHOT_PAUSE_S = 0.005
LEASE_S = 10.0
GRACE_S = 5.0
"""Longer than this over a read that blocks: Redis is stopped or the line is dead."""
RETRY_S = 0.5
RETRY_MAX_S = 10.0

log = structlog.get_logger(__name__)


_Lives = dict[Epoch, int]


class Lag(NamedTuple):
    """How far SQL is behind a zone's log: events, and the age in seconds of the oldest of them."""

    events: int
    seconds: float


class Broken(Exception):
    """What the log gave does not follow what is archived: an event is missing, or the log is another one."""


@dataclass(slots=True)
class _Zone:
    """What the archiver believes of one zone. ``begun`` only while it archives it."""

    zone: Zone
    begun: bool = False
    at: Checkpoint | None = None
    told: list[str] = field(default_factory=list)
    trim_due: float = 0.0
    snapshot_due: float = 0.0
    snapshot: asyncio.Task[None] | None = None
    retry_due: float = 0.0
    retry_s: float = RETRY_S

    @property
    def seq(self) -> int:
        return self.at.seq if self.at else 0


async def run(engine: Engine) -> None:
    """Archive every open zone for ever; faults of Redis and of the database are waited out."""
    archiver = Archiver(engine)
    archiver.show()
    try:
        while not_cancelled():
            moved = await archiver.step(BLOCK_MS)
            await asyncio.sleep(0 if moved >= BATCH else GATHER_S)
    finally:
        await archiver.close()


async def run_once(engine: Engine) -> int:
    """Archive what the logs hold now; returns how many events. Raises what goes wrong."""
    archiver = Archiver(engine, strict=True)
    try:
        whole = 0
        while moved := await archiver.step(1):
            whole += moved
        return whole
    finally:
        await archiver.close()


async def lag(engine: Engine, zone: Zone) -> Lag:
    """How far the archive is behind, by what Redis was told of it. Raises Unavailable."""
    archived, seq, now = await engine.store.reads.hmget(keys.meta(zone), ["archived", "seq", "now"])
    behind = int(seq or 0) - int(archived or 0)
    if behind <= 0:
        return Lag(0, 0.0)
    oldest = await zone_log.window(engine.store.reads, zone, int(archived or 0), 1)
    return Lag(behind, max(0, int(now or 0) - oldest[0].at) / 1000 if oldest else 0.0)


class Archiver:
    """One archiver of all zones; any number may run, a lease keeps all but one of a zone idle. ``strict`` raises
    what goes wrong and needs no lease, for tests and tools.
    """

    def __init__(self, engine: Engine, *, strict: bool = False) -> None:
        self._engine = engine
        self._strict = strict
        self._leases = Leases(engine.store, "archiver", LEASE_S)
        self._line: StreamConnection | None = None
        self._zones = [_Zone(zone) for zone in engine.store.zones]
        self._lags: dict[tuple[str, ...], Lag] = {}

    def show(self) -> None:
        """Let /metrics read the lag."""
        for name, text, field_name in (
            ("archive_lag_events", "Events in the log that are not in SQL yet", "events"),
            ("archive_lag_seconds", "Age of the oldest event that is not in SQL yet", "seconds"),
        ):
            self._engine.metrics.reading(name, text, self._lag_of(field_name), "zone")

    def _lag_of(self, name: str) -> Any:
        return lambda: {zone: float(getattr(lag, name)) for zone, lag in self._lags.items()}

    async def close(self) -> None:
        """Close the connection that reads the log, and give the leases back so that another need not wait."""
        snapshots = [z.snapshot for z in self._zones if z.snapshot]
        for task in snapshots:
            task.cancel()
        await asyncio.gather(*snapshots, return_exceptions=True)
        await self._hang_up()
        if not self._strict:
            await self._leases.give_back()

    async def step(self, block_ms: int) -> int:
        """Read once and archive what came; returns how many events the fullest zone gave."""
        await self._measure()
        ready = [z for z in self._zones if await self._tried(z, self._begin(z))]
        if not ready:
            await asyncio.sleep(0 if self._strict else RETRY_S)
            return 0
        try:
            found, lives = await self._read({z.zone: z.seq for z in ready}, block_ms)
        except (CalloutError, OSError) as error:  # TimeoutError is an OSError
            await self._hang_up()
            self._doubt(ready, error)
            return 0
        by_zone: dict[Zone, list[Event]] = {}
        for event in found:
            by_zone.setdefault(event.zone, []).append(event)
        for z in ready:
            if z.zone not in by_zone or await self._tried(z, self._take(z, by_zone[z.zone], lives[z.zone])):
                await self._tried(z, self._chores(z))
        return max(map(len, by_zone.values()), default=0)

    async def _read(self, after: dict[Zone, int], block_ms: int) -> tuple[list[Event], dict[Zone, _Lives]]:
        """What follows in the logs, and the epochs it is of as the same server has them."""
        async with asyncio.timeout(block_ms / 1000 + GRACE_S):
            line = self._line = self._line or await self._engine.store.open_stream_connection()
            found = await zone_log.tail(line, after, block_ms, BATCH)
            await zone_log.check_primary(line)
            zones_read = {event.zone for event in found}
            return found, {zone: await zone_log.epochs(line, zone) for zone in zones_read}

    async def _hang_up(self) -> None:
        if self._line:
            await self._line.aclose()
        self._line = None

    async def _tried(self, z: _Zone, work: Coroutine[Any, Any, bool]) -> bool:
        """One zone's trouble is its own: the others go on, this one is tried again later."""
        if z.retry_due > _now():
            work.close()
            return False
        try:
            return await work
        except (Broken, apply.AnotherLife) as error:
            self._doubt([z], error)
            await self._judge(z.zone)
        except (CalloutError, OSError, apply.Superseded) as error:
            self._doubt([z], error)
        except Exception as error:  # a task boundary
            log.exception("archiver_bug", zone=z.zone)
            self._doubt([z], error)
        return False

    def _doubt(self, zones: list[_Zone], error: Exception) -> None:
        """Believe nothing of these zones any more, and ask again in a while."""
        if self._strict:
            raise error
        apart = isinstance(error, Broken | apply.AnotherLife)
        for z in zones:
            say = log.error if apart else log.warning
            say("archiver_waits", zone=z.zone, error=str(error), retry_s=z.retry_s)
            z.begun, z.retry_due = False, _now() + z.retry_s
            z.retry_s = min(z.retry_s * 2, RETRY_MAX_S)

    async def _judge(self, zone: Zone) -> None:
        """A log that does not follow the archive must take no more commands: what they did would be lost."""
        try:
            await zones.judge(self._engine.store, self._engine.archive, zone)
        except CalloutError as error:
            log.warning("zone_not_judged", zone=zone, error=str(error))

    async def _measure(self) -> None:
        """Keep what /metrics shows, most of all while nothing can be archived."""
        try:
            for z in self._zones:
                self._lags[(z.zone,)] = await lag(self._engine, z.zone)
        except CalloutError as error:
            log.debug("lag_unknown", error=str(error))

    # One zone

    async def _begin(self, z: _Zone) -> bool:
        """Whether this zone is ours to archive now; where it was not, everything about it is asked anew."""
        if not self._engine.store.zones[z.zone].open or not await self._leased(z):
            z.begun = False
            return False
        if not z.begun:
            z.at = await reader.checkpoint(self._engine.archive, z.zone)
            await self._tell(z, [])
            await self._tell_again(z)
            z.begun = True
        return True

    async def _leased(self, z: _Zone) -> bool:
        return self._strict or await self._leases.held(z.zone)

    async def _take(self, z: _Zone, events: list[Event], lives: _Lives) -> bool:
        """Archive what follows the checkpoint. Raises Broken where it does not follow."""
        for expected, event in enumerate(events, z.seq + 1):
            if event.seq != expected:
                raise Broken(f"the log goes on with {event.seq} where {expected} should follow")
        taking = Taking(self._engine.archive, z.zone, lives, self._alarm)
        await _whole(taking.take(events, z.at, lambda seq: _life_of(seq, lives)))
        z.at = Checkpoint(_life_of(events[-1].seq, lives), events[-1].seq)
        await self._tell(z, taking.finished)
        return True

    def _alarm(self, zone: Zone) -> None:
        self._engine.metrics.refused.labels(zone).inc()

    async def _tell_again(self, z: _Zone) -> None:
        """Tell Redis of all jobs of which it was perhaps not told, a page at a time."""
        while page := await apply.unarchived(self._engine.archive, z.zone, BATCH):
            await self._tell(z, page)
            told, z.told = z.told, []
            await _whole(apply.mark_archived(self._engine.archive, told))

    async def _tell(self, z: _Zone, finished: list[str]) -> None:
        """Let Redis know how far the archive is, and which jobs it has for good."""
        store, zone = self._engine.store, z.zone
        names = {"meta": keys.meta(zone)}
        if z.at:
            await store.run(zone, "zone_archived", keys=names, args={"seq": z.seq})
        names["jobs"] = keys.jobs(zone)
        places = ((job, names | {"job": keys.job(zone, JobId(job))}) for job in finished)
        await asyncio.gather(*(store.run(zone, "job_archived", keys=at, args={"id": job}) for job, at in places))
        z.told += finished

    # What is done now and then

    async def _chores(self, z: _Zone) -> bool:
        z.retry_s = RETRY_S
        if z.told:
            told, z.told = z.told, []
            await _whole(apply.mark_archived(self._engine.archive, told))
        if z.trim_due <= _now() or self._strict:
            z.trim_due = _now() + TRIM_EVERY_S
            await trim(self._engine, z.zone, z.seq)
        if self._strict:
            await snapshot(self._engine, z.zone)
        elif z.snapshot_due <= _now() and (z.snapshot is None or z.snapshot.done()):
            z.snapshot_due = _now() + SNAPSHOT_EVERY_S
            z.snapshot = asyncio.create_task(self._snapshot(z.zone), name=f"snapshot:{z.zone}")
        return True

    async def _snapshot(self, zone: Zone) -> None:
        """Beside the archiving, which neither waits for it nor fails with it."""
        try:
            await snapshot(self._engine, zone)
        except CalloutError as error:
            log.warning("snapshot_failed", zone=zone, error=str(error), retry_s=SNAPSHOT_EVERY_S)
        except Exception:  # a task boundary
            log.exception("snapshot_failed", zone=zone)


async def trim(engine: Engine, zone: Zone, archived: int) -> int:
    """Drop from the log what is archived and outside the window, by age or by size; returns how many entries.

    By archived id only: trimming by length would drop what nobody has read yet.
    """
    now = int(await engine.store.reads.hget(keys.meta(zone), "now") or 0)
    aged = await apply.seq_before(engine.archive, zone, now - round(engine.settings.log_window_s * 1000))
    last = min(archived, max(aged, await _beyond_bytes(engine, zone)))
    if last <= 0:
        return 0
    return int(await engine.store.command("XTRIM", keys.log(zone), "MINID", f"{last + 1}-0"))


async def _beyond_bytes(engine: Engine, zone: Zone) -> int:
    """The last seq that must go for the log to fit its bound, taking its entries as equally large; 0 if it fits."""
    client, name = engine.store.reads, keys.log(zone)
    used, entries = await client.size(name)
    if used <= engine.settings.log_window_bytes:
        return 0
    first = await zone_log.window(client, zone, 0, 1)
    excess = (used - engine.settings.log_window_bytes) / used
    return first[0].seq - 1 + math.ceil(excess * entries) if first else 0


async def snapshot(engine: Engine, zone: Zone) -> int:
    """Keep where every technician of the zone who shows signs of life is; returns how many.

    In pages, and with few commands on the packed line at once: claims share that line and come first. Between two
    pages somebody may change places in ``seen`` and be left out: the next snapshot has them.
    """
    kept = first = 0
    while seen := await engine.store.command("ZRANGE", keys.seen(zone), first, first + SNAPSHOT_PAGE - 1):
        last = [found async for found in _fixes(engine, zone, seen)]
        if last:
            await _whole(apply.keep_positions(engine.archive, zone, last))
        kept, first = kept + len(last), first + SNAPSHOT_PAGE
        await asyncio.sleep(SNAPSHOT_PAUSE_S)
    return kept


async def _fixes(engine: Engine, zone: Zone, seen: list[bytes]) -> AsyncIterator[Position]:
    alive = [TechnicianId(UserId(name.decode())) for name in seen]
    for start in range(0, len(alive), SNAPSHOT_AT_ONCE):
        some = alive[start : start + SNAPSHOT_AT_ONCE]
        asked = (engine.store.command("HMGET", keys.technician(zone, t), "lat", "lon", "fix_at") for t in some)
        for technician, (lat, lon, at) in zip(some, await asyncio.gather(*asked), strict=True):
            if lat and lon and at:
                yield Position(technician, float(lat), float(lon), int(float(at)))


def _life_of(seq: int, lives: _Lives) -> Epoch:
    """The epoch that ``seq`` was written in: the last one that had begun by then."""
    begun = [(number_of(epoch), epoch) for epoch, first in lives.items() if first <= seq]
    if not begun:
        raise Broken(f"no epoch of the log had begun at {seq}")
    return max(begun)[1]


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end even when we are cancelled meanwhile: half a transaction costs the connection."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _now() -> float:
    return asyncio.get_running_loop().time()
