"""Rebuild a zone's keys from SQL, after Redis was emptied, restored to an older state, or replaced by another one.

One process does it, under a lock in SQL:

1. It compares Redis with SQL once more, and records an epoch that no log has: from now on no archiver can append to
   the archive what another Redis has.
2. It closes the zone in Redis and takes the right to write (lua/zone_rebuild.lua).
3. It deletes the zone's keys and writes what SQL has (engine/rebuild/zone_writing.py). If Redis has only lost the end
   of its log, only the objects in the lost events are written (engine/rebuild/lost_tail.py).
4. It ends the rebuild. The zone then opens as after any other reconnect (engine/zone/opening.py), in a new epoch above
   the archive's head.

If it dies at any point, the zone stays closed with the reason REBUILDING, and the next process begins again. Data that
Redis had and SQL did not have is lost; the acknowledgement level limits this (docs/durability.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select

from engine.archive import contradictions, erasure_list
from engine.archive.contradictions import FOREIGN_ROW
from engine.errors import CalloutError
from engine.rebuild import given_up, log_tail, lost_tail, zone_writing
from engine.rebuild.lost_tail import LostTail
from engine.rebuild.writer import LostRight, ZoneWriter
from engine.sql.database import Archive
from engine.sql.schema import events
from engine.types import Zone, new_id
from engine.zone import control, opening, records
from engine.zone import log as zone_log
from engine.zone.opening import REBUILT_WORDS
from engine.zone.records import ZoneRecord

if TYPE_CHECKING:
    from engine.runtime import Engine

REBUILT = "REBUILT"
"""Why a zone is closed after its rebuild, until it is opened."""
WATCHED_WORDS = REBUILT_WORDS | {"OLDER", FOREIGN_ROW}
"""The words of closed zones about which a process does something by itself."""
OPERATOR_WORDS = frozenset(opening.CLOSED_REASONS) - {"STALE_RELEASE", "OTHER_DATABASE", FOREIGN_ROW}
"""The words of the closed zones that an operator may rebuild. Events that Redis has and SQL does not are archived
first, if the log continues the archive."""
TAKE_OVER_WORDS = OPERATOR_WORDS | {"OTHER_DATABASE"}
"""The same if an operator says that Redis shall belong to this database: what it has is then deleted."""
PROGRESS_INTERVAL_S = 2.0
"""How often a rebuild that takes long is logged."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did: the archive's head ``seq`` that Redis has now, the written ``rows``, and how long it took.
    ``lost_events``: Redis had lost only so many events, and only what they are about was written; None: everything.
    """

    zone: Zone
    word: str
    seq: int
    rows: int
    seconds: float
    lost_events: int | None


RunningRebuilds = dict[Zone, ZoneWriter]
"""The writer of each zone that this process rebuilds at the moment: it knows how many rows are written."""


async def run_once(engine: Engine, running: RunningRebuilds | None = None) -> list[RebuildReport]:
    """Rebuild each zone that is closed because Redis lacks what SQL has, and open each zone whose reason no longer
    applies. A failed rebuild is logged; the next call begins it again. ``running`` has the rebuilds under way.
    """
    reports = []
    for zone, state in engine.store.zones.items():
        if state.open or state.word not in WATCHED_WORDS or not state.shard.pipeline.is_up:
            continue
        try:
            report = await _mend_zone(engine, zone, state.word, running)
        except (CalloutError, LostRight) as error:
            log.warning("zone_rebuild_failed", zone=zone, error=str(error) or type(error).__name__)
        else:
            reports += [report] if report else []
    return reports


async def _mend_zone(engine: Engine, zone: Zone, word: str, running: RunningRebuilds | None) -> RebuildReport | None:
    """Rebuild or open a closed zone, as far as a process may do this without an operator. ``word`` is the code of the
    reason why the zone is closed. Return the report if the zone was rebuilt.
    """
    if word in REBUILT_WORDS:
        return await rebuild_zone(engine, zone, running=running)
    if word == FOREIGN_ROW:
        await contradictions.open_zone_without_foreign_row(engine.store, engine.archive, zone)
    else:
        await given_up.open_zone(engine, zone)
    return None


async def rebuild_zone(
    engine: Engine,
    zone: Zone,
    *,
    words: Collection[str] = REBUILT_WORDS,
    running: RunningRebuilds | None = None,
) -> RebuildReport | None:
    """Rebuild the zone from SQL if ``words`` contains the code of the reason why it is closed, and if no other
    process rebuilds it. Return None otherwise.

    Raises Unavailable, Indeterminate, LostRight: the zone then stays closed, and the rebuild begins again.
    """
    holder = new_id("node")
    if not await control.take_lock(engine.archive, zone, holder):
        return None
    try:
        async with _renewed_lock(engine.archive, zone, holder):
            return await _rebuild_under_lock(engine, zone, words, holder, {} if running is None else running)
    finally:
        await control.release_lock(engine.archive, zone, holder)


async def _rebuild_under_lock(
    engine: Engine, zone: Zone, words: Collection[str], holder: str, running: RunningRebuilds
) -> RebuildReport | None:
    store, archive, began = engine.store, engine.archive, monotonic()
    before = (await records.read_records(archive, [zone]))[zone]
    shard = store.zones[zone].shard
    word = (await opening.compare_with_sql(store, shard.pipeline.submit, zone, shard.run_id, "look", before)).word
    if word not in words:
        return None
    found = (await zone_log.read_head(store.read_connection, zone)).epoch
    if word in ("PAUSED", "CLOSED"):
        await log_tail.archive_tail(engine, zone)
    record = await control.fence_archive(archive, zone)
    await erasure_list.apply_list(archive, engine.settings)
    tail = await lost_tail.find_lost_tail(engine, zone, record) if word == "BEHIND" else None
    total = len(tail.jobs) + len(tail.rooms) if tail else await zone_writing.count_rows(engine, zone)
    writer = ZoneWriter(store, zone, holder, total)
    ended_at = await _time_of(archive, zone, record.archived)
    log.warning("zone_rebuild_begins", zone=zone, word=word, archived=record.archived, rows=total)
    await writer.begin(found, ended_at)
    store.close_zone(zone, opening.CLOSED_REASONS["REBUILDING"], "REBUILDING")
    running[zone] = writer
    try:
        async with _logged_progress(writer, zone):
            await _write_zone(engine, zone, record, writer, tail, ended_at)
            await writer.finish(record.archived, record.database, "PAUSED" if before.paused else REBUILT)
    finally:
        del running[zone]
        await writer.abandon()
    lost = len(tail.rows) if tail else None
    report = RebuildReport(zone, word, record.archived, writer.done, round(monotonic() - began, 3), lost)
    log.warning(
        "zone_rebuilt", zone=zone, word=word, seq=report.seq, rows=report.rows, seconds=report.seconds, lost_events=lost
    )
    await store.reopen(zone, stale=store.zones[zone].epoch)
    return report


async def _write_zone(
    engine: Engine, zone: Zone, record: ZoneRecord, writer: ZoneWriter, tail: LostTail | None, ended_at: int
) -> None:
    writing = zone_writing.ZoneWriting(engine, zone, writer, ended_at)
    if tail is None:
        await writer.clear()
        await writing.write_everything(record)
    else:
        await writing.write_tail(record, tail)


async def _time_of(archive: Archive, zone: Zone, seq: int) -> int:
    """Return the time (ms) of the archived event ``seq``; 0 if there is none."""
    query = select(events.c.at).where(events.c.zone == zone, events.c.seq == seq)
    async with archive.begin_read() as conn:
        return (await conn.execute(query)).scalar() or 0


@contextlib.asynccontextmanager
async def _renewed_lock(archive: Archive, zone: Zone, holder: str) -> AsyncIterator[None]:
    """Renew the lock in SQL while the block runs. A rebuild whose lock cannot be renewed continues until Redis refuses
    its writes because another rebuild has begun.
    """

    async def renew() -> None:
        while True:
            await asyncio.sleep(control.LEASE_MS / 3_000)
            with contextlib.suppress(CalloutError):
                await control.take_lock(archive, zone, holder)

    async with _background(renew()):
        yield


@contextlib.asynccontextmanager
async def _logged_progress(writer: ZoneWriter, zone: Zone) -> AsyncIterator[None]:
    """Log how many rows are written, every ``PROGRESS_INTERVAL_S`` seconds, while the block runs."""
    began = monotonic()

    async def report() -> None:
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            seconds = round(monotonic() - began, 1)
            log.warning("zone_rebuild_goes_on", zone=zone, rows=writer.done, of=writer.total, seconds=seconds)

    async with _background(report()):
        yield


@contextlib.asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``work`` while the block runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
