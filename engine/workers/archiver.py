"""The archiver copies each zone's log to SQL, in order and exactly once, and trims entries that are archived and old.

No command waits for the archiver or fails with it: while the database is away, the log only grows. The notifications
to Redis after a commit (the archived seq, and the jobs that may expire) are idempotent. The archiver sends them again
after any failure.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from engine.archive import apply, contradictions, demand_refill, ledger_refill, room_refill
from engine.archive.quarantine import EventWriter
from engine.archive.reader import Checkpoint
from engine.domain.archive_lag import ArchiveLag, read_lag, register_lag_metrics
from engine.errors import CalloutError
from engine.events import Event
from engine.process.loops import finish_uncancelled, not_cancelled
from engine.store import keys
from engine.store.acknowledgement import without_acknowledgement
from engine.types import Cursor, Epoch, Zone, epoch_number
from engine.workers import archived_jobs, log_reader, position_archive
from engine.workers.audit_heads import HeadPublisher
from engine.zone import log as zone_log
from engine.zone.leases import Leases

if TYPE_CHECKING:
    from engine.runtime import Engine

JOBS_PER_NOTICE = 250
"""How many finished jobs are reported to Redis at once."""
READ_BLOCK_MS = 1_000
BATCH_PAUSE_S = 0.05
"""The pause between batches that are not full, so that events of the same moment share one commit. None at level
``sql``, where replies wait for the commit: there the events that arrive during a commit share the next one."""
LAG_INTERVAL_S = 1.0
TRIM_INTERVAL_S = 5.0
SNAPSHOT_INTERVAL_S = 30.0
LEASE_S = 10.0
RETRY_S = 0.5
RETRY_MAX_S = 10.0

log = structlog.get_logger(__name__)


_FirstSeqs = dict[Epoch, int]
"""Each epoch and its first seq."""


class LogGap(Exception):
    """Raised when the log does not continue the archive: an event is missing, or the log is a different one."""


@dataclass(slots=True)
class _ZoneProgress:
    """The archiver's state of one zone. ``is_loaded`` is true while this process archives the zone."""

    zone: Zone
    is_loaded: bool = False
    checkpoint: Checkpoint | None = None
    epoch: str = ""
    """The epoch in which Redis was last notified again of what it may have lost."""
    notified_jobs: dict[str, bool] = field(default_factory=dict)
    """Finished jobs that Redis knows to be archived, and that are not marked so in SQL yet. True: the job is
    finished in Redis too."""
    trim_due: float = 0.0
    snapshot_due: float = 0.0
    positions_task: asyncio.Task[None] | None = None
    retry_due: float = 0.0
    retry_s: float = RETRY_S

    @property
    def seq(self) -> int:
        """The last archived seq; 0 if nothing is archived."""
        return self.checkpoint.seq if self.checkpoint else 0


async def run(engine: Engine) -> None:
    """Archive every open zone until cancelled. Retry after failures of Redis and of the database."""
    leases = Leases(engine.store, "archiver", LEASE_S)
    archivers = [Archiver(engine, group, leases) for group in engine.store.shards.groups(engine.settings.zones)]
    register_lag_metrics(engine, [archiver.lags for archiver in archivers])
    with without_acknowledgement():
        try:
            async with asyncio.TaskGroup() as group:
                for archiver in archivers:
                    group.create_task(_run_archiver(engine, archiver))
        finally:
            for archiver in archivers:
                await archiver.close()
            await leases.release_all()


async def _run_archiver(engine: Engine, archiver: Archiver) -> None:
    pause_s = 0 if engine.settings.durability == "sql" else BATCH_PAUSE_S
    while not_cancelled():
        moved = await archiver.archive_batch(READ_BLOCK_MS)
        await asyncio.sleep(0 if moved >= log_reader.MAX_BATCH_EVENTS else pause_s)


async def run_once(engine: Engine) -> int:
    """Archive all events that the logs contain now; return their number. Every failure is raised."""
    total = 0
    for group in engine.store.shards.groups(engine.settings.zones):
        archiver = Archiver(engine, group, strict=True)
        with without_acknowledgement():
            try:
                while moved := await archiver.archive_batch(1):
                    total += moved
            finally:
                await archiver.close()
    return total


class Archiver:
    """An archiver for zones whose logs can be read by one command. Any number of archivers may run; only the one with a
    zone's lease works for the zone. With ``strict`` every failure is raised and no lease is taken, for tests and tools.
    """

    def __init__(
        self, engine: Engine, zones: Sequence[Zone] = (), leases: Leases | None = None, *, strict: bool = False
    ) -> None:
        self.lags: dict[tuple[str, ...], ArchiveLag] = {}
        self._engine = engine
        self._strict = strict
        self._leases = leases or Leases(engine.store, "archiver", LEASE_S)
        self._reader = log_reader.LogReader(engine.store)
        self._zones = [_ZoneProgress(zone) for zone in zones or engine.settings.zones]
        self._lags_due = 0.0
        self._heads = HeadPublisher(engine)

    async def close(self) -> None:
        """Close the connection that reads the log."""
        snapshots = [progress.positions_task for progress in self._zones if progress.positions_task]
        for task in snapshots:
            task.cancel()
        await asyncio.gather(*snapshots, return_exceptions=True)
        await self._reader.close()

    async def archive_batch(self, block_ms: int) -> int:
        """Read once and archive the events. Return the number of events of the busiest zone."""
        await self._measure_lags()
        ready = [progress for progress in self._zones if await self._run_zone(progress, self._prepare_zone(progress))]
        if not ready:
            await asyncio.sleep(0 if self._strict else RETRY_S)
            return 0
        try:
            found = await self._reader.read({progress.zone: progress.seq for progress in ready}, block_ms)
        except (CalloutError, OSError) as error:  # TimeoutError is an OSError
            await self._reader.close()
            self._retry_later(ready, error)
            return 0
        for progress in ready:
            if progress.zone not in found or await self._run_zone(
                progress, self._archive_events(progress, *found[progress.zone])
            ):
                await self._run_zone(progress, self._do_periodic_work(progress))
        return max((len(logged.events) for logged in found.values()), default=0)

    async def _run_zone(self, progress: _ZoneProgress, work: Coroutine[Any, Any, bool]) -> bool:
        """Run the work of one zone and return its result. After a failure return False: the zone is tried again later,
        and the other zones do not wait.
        """
        if progress.retry_due > _loop_time():
            work.close()
            return False
        try:
            return await work
        except (LogGap, apply.LogMismatch) as error:
            self._retry_later([progress], error)
            await self._close_if_contradictory(progress.zone)
        except (CalloutError, OSError, apply.Superseded) as error:
            self._retry_later([progress], error)
        except Exception as error:  # the task must go on after an error of any type
            log.exception("archiver_bug", zone=progress.zone)
            self._retry_later([progress], error)
        return False

    def _retry_later(self, zones: list[_ZoneProgress], error: Exception) -> None:
        """Drop the cached state of these zones and reload it after ``retry_s``, which doubles up to ``RETRY_MAX_S``."""
        if self._strict:
            raise error
        contradicts = isinstance(error, LogGap | apply.LogMismatch)
        for progress in zones:
            write = log.error if contradicts else log.warning
            write("archiver_waits", zone=progress.zone, error=str(error), retry_s=progress.retry_s)
            progress.is_loaded, progress.retry_due = False, _loop_time() + progress.retry_s
            progress.retry_s = min(progress.retry_s * 2, RETRY_MAX_S)

    async def _close_if_contradictory(self, zone: Zone) -> None:
        """Close the zone if its log contradicts the archive."""
        try:
            await contradictions.close_zone(self._engine.store, self._engine.archive, zone)
        except CalloutError as error:
            log.warning("zone_not_judged", zone=zone, error=str(error))

    async def _measure_lags(self) -> None:
        """Update the lag for /metrics once a second, also while nothing can be archived: then it matters most."""
        if self._lags_due > _loop_time():
            return
        self._lags_due = _loop_time() + LAG_INTERVAL_S
        try:
            for progress in self._zones:
                self.lags[(progress.zone,)] = await read_lag(self._engine, progress.zone)
        except CalloutError as error:
            log.debug("lag_unknown", error=str(error))

    # One zone

    async def _prepare_zone(self, progress: _ZoneProgress) -> bool:
        """Return whether this process holds the zone's lease. On a newly acquired lease, reload the zone's state."""
        if not self._engine.store.zones[progress.zone].open or not await self._holds_lease(progress):
            progress.is_loaded = False
            return False
        if not progress.is_loaded:
            progress.checkpoint = await room_refill.refill(self._engine.archive, progress.zone)
            await demand_refill.refill(self._engine.archive, progress.zone, progress.checkpoint)
            await ledger_refill.refill(self._engine.archive, progress.zone, progress.checkpoint)
            await self._heads.prepare(progress.zone, progress.checkpoint)
            await self._notify_redis(progress, [])
            await self._notify_unarchived(progress)
            progress.is_loaded = True
        if progress.epoch != (epoch := self._engine.store.zones[progress.zone].epoch):
            await archived_jobs.repeat_lost_notices(self._engine, progress.zone)
            progress.epoch = epoch
        return True

    async def _holds_lease(self, progress: _ZoneProgress) -> bool:
        """Return whether this archiver may work for the zone."""
        return self._strict or await self._leases.holds_lease(progress.zone)

    async def _archive_events(self, progress: _ZoneProgress, events: list[Event], epochs: _FirstSeqs) -> bool:
        """Archive the events after the checkpoint. Raises LogGap if a seq is missing. Always returns True."""
        for expected, event in enumerate(events, progress.seq + 1):
            if event.seq != expected:
                raise LogGap(f"the log goes on with {event.seq} where {expected} should follow")
        heads, archive = self._heads, self._engine.archive
        writer = EventWriter(archive, progress.zone, epochs, self._count_quarantined, heads.key)
        await finish_uncancelled(writer.write_events(events, progress.checkpoint, lambda seq: _epoch_of(seq, epochs)))
        progress.checkpoint = Checkpoint(_epoch_of(events[-1].seq, epochs), events[-1].seq)
        self._engine.store.acknowledgements.note_archived(
            progress.zone, Cursor(progress.checkpoint.epoch, progress.seq)
        )
        heads.note_batch(progress.zone, writer.head)
        await self._notify_redis(progress, writer.finished)
        return True

    def _count_quarantined(self, zone: Zone) -> None:
        self._engine.metrics.refused.labels(zone).inc()

    async def _notify_unarchived(self, progress: _ZoneProgress) -> None:
        """Notify Redis again of all finished jobs that Redis may not know to be archived, one page at a time."""
        while page := await apply.unarchived_jobs(self._engine.archive, progress.zone, JOBS_PER_NOTICE):
            await self._notify_redis(progress, page)
            await self._mark_archived(progress)

    async def _mark_archived(self, progress: _ZoneProgress) -> None:
        """Record in SQL that Redis was notified of the finished jobs."""
        notified_jobs, progress.notified_jobs = progress.notified_jobs, {}
        await finish_uncancelled(apply.mark_archived(self._engine.archive, notified_jobs))

    async def _notify_redis(self, progress: _ZoneProgress, finished: list[str]) -> None:
        """Notify Redis of the archived seq and of the finished jobs that SQL now has."""
        store, zone = self._engine.store, progress.zone
        if progress.checkpoint:
            await store.run(zone, "zone_archived", keys={"meta": keys.zone_meta(zone)}, args={"seq": progress.seq})
        progress.notified_jobs |= await archived_jobs.notify_redis(store, zone, finished)

    # Periodic work

    async def _do_periodic_work(self, progress: _ZoneProgress) -> bool:
        """Do the periodic work of a zone that is due: trim the log, store positions. Always returns True."""
        progress.retry_s = RETRY_S
        if progress.notified_jobs:
            await self._mark_archived(progress)
        if progress.trim_due <= _loop_time() or self._strict:
            progress.trim_due = _loop_time() + TRIM_INTERVAL_S
            await trim_log(self._engine, progress.zone, progress.seq)
        if not self._strict:
            await self._heads.sign_due(progress.zone)
        if self._strict:
            await position_archive.store_positions(self._engine, progress.zone)
            await position_archive.move_paths(self._engine, progress.zone, all_paths=True)
        elif progress.snapshot_due <= _loop_time() and (
            progress.positions_task is None or progress.positions_task.done()
        ):
            progress.snapshot_due = _loop_time() + SNAPSHOT_INTERVAL_S
            progress.positions_task = asyncio.create_task(
                self._store_positions(progress.zone), name=f"snapshot:{progress.zone}"
            )
        return True

    async def _store_positions(self, zone: Zone) -> None:
        """Store the positions and paths, in a task of its own: archiving neither waits for it nor fails with it."""
        try:
            await position_archive.store_positions(self._engine, zone)
            await position_archive.move_paths(self._engine, zone)
        except CalloutError as error:
            log.warning("snapshot_failed", zone=zone, error=str(error), retry_s=SNAPSHOT_INTERVAL_S)
        except Exception:  # the task must go on after an error of any type
            log.exception("snapshot_failed", zone=zone)


async def trim_log(engine: Engine, zone: Zone, archived: int) -> int:
    """Remove the entries of the log that are archived and outside the window, by age or by size. Return their number.

    Trimming by length was rejected: it would drop entries that the archiver has not read yet.
    """
    now = int(await engine.store.read_connection.hget(keys.zone_meta(zone), "now") or 0)
    aged = await apply.last_seq_before(engine.archive, zone, now - round(engine.settings.log_window_s * 1000))
    last = min(archived, max(aged, await _last_beyond_limit(engine, zone)))
    if last <= 0:
        return 0
    return int(await engine.store.command("XTRIM", keys.log(zone), "MINID", f"{last + 1}-0"))


async def _last_beyond_limit(engine: Engine, zone: Zone) -> int:
    """Return the last seq to remove so that the log is below its limit in bytes; 0 if it is already. The estimate
    assumes that all entries have the same size.
    """
    client, name = engine.store.read_connection, keys.log(zone)
    used, entries = await client.size(name)
    if used <= engine.settings.log_window_bytes:
        return 0
    first = await zone_log.read_range(client, zone, 0, 1)
    excess = (used - engine.settings.log_window_bytes) / used
    return first[0].seq - 1 + math.ceil(excess * entries) if first else 0


def _epoch_of(seq: int, epochs: _FirstSeqs) -> Epoch:
    """Return the epoch in which ``seq`` was written: the last epoch whose first seq is not above ``seq``. Raises LogGap
    if there is none.
    """
    begun = [(epoch_number(epoch), epoch) for epoch, first in epochs.items() if first <= seq]
    if not begun:
        raise LogGap(f"no epoch of the log had begun at {seq}")
    return max(begun)[1]


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
