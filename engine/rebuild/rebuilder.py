"""Write a zone's keys anew from SQL, after Redis was emptied, restored to an older state, or replaced by another one.

One process does it, under a lock in SQL:

1. It compares Redis with SQL once more, and records an epoch that no log has: from now on no archiver can append to
   the archive what another Redis has.
2. It closes the zone in Redis and takes the right to write (lua/zone_rebuild.lua).
3. It deletes the zone's keys and writes what SQL has.
4. It ends the rebuild. The zone then opens as after any other reconnect (engine/zone/opening.py), in a new epoch above
   the archive's head.

If it dies at any point, the zone stays closed with the reason REBUILDING, and the next process begins again. What Redis
had and SQL did not is lost, as far as the acknowledgement level permits (docs/durability.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select

from engine.errors import CalloutError
from engine.rebuild import block_contents, log_tail, technician_entries
from engine.rebuild.contents import Contents, KeyContent
from engine.rebuild.technician_entries import Workload
from engine.rebuild.writer import LostRight, ZoneWriter
from engine.sql.database import Archive
from engine.sql.schema import events
from engine.store import keys
from engine.types import Epoch, Zone, new_id
from engine.zone import control, opening, records
from engine.zone import log as zone_log
from engine.zone.opening import REBUILT_WORDS
from engine.zone.records import ZoneRecord

if TYPE_CHECKING:
    from engine.runtime import Engine

REBUILT = "REBUILT"
"""Why a zone is closed after its rebuild, until it is opened."""

OPERATOR_WORDS = frozenset(opening.CLOSED_REASONS)
"""The words of closed zones that an operator may have written anew. What Redis has and SQL does not is archived first,
if the log continues the archive."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did: the archive's head ``seq`` that Redis has now, the written ``rows``, and how long it took."""

    zone: Zone
    word: str
    seq: int
    rows: int
    seconds: float


async def rebuild_zone(
    engine: Engine, zone: Zone, *, words: Collection[str] = REBUILT_WORDS, holder: str | None = None
) -> RebuildReport | None:
    """Write the zone anew if it is closed with one of ``words`` and no other process does. Return None otherwise.

    Raises Unavailable, Indeterminate, LostRight: the zone then stays closed, and the rebuild begins again.
    """
    holder = holder or new_id("node")
    if not await control.take_lock(engine.archive, zone, holder):
        return None
    try:
        async with _renewed_lock(engine.archive, zone, holder):
            return await _rebuild_under_lock(engine, zone, words, holder)
    finally:
        await control.release_lock(engine.archive, zone, holder)


async def _rebuild_under_lock(engine: Engine, zone: Zone, words: Collection[str], holder: str) -> RebuildReport | None:
    store, archive, began = engine.store, engine.archive, monotonic()
    before = (await records.read_records(archive, [zone]))[zone]
    word = (await opening.compare_with_sql(store, store.pipeline.submit, zone, store.run_id, "look", before)).word
    if word not in words:
        return None
    found = (await zone_log.read_head(store.read_connection, zone)).epoch
    if word in ("PAUSED", "CLOSED"):
        await log_tail.archive_tail(engine, zone)
    record = await control.fence_archive(archive, zone, store.run_id)
    log.warning("zone_rebuild_begins", zone=zone, word=word, archived=record.archived)
    writer = ZoneWriter(store, zone, holder, await _count_rows(archive, zone))
    ended_at = await _time_of(archive, zone, record.archived)
    await writer.begin(found, ended_at)
    store.close_zone(zone, opening.CLOSED_REASONS["REBUILDING"], "REBUILDING")
    await writer.clear()
    await _write_zone(engine, zone, record, writer, ended_at)
    await writer.finish(record.archived, record.database, "PAUSED" if before.paused else REBUILT)
    report = RebuildReport(zone, word, record.archived, writer.done, round(monotonic() - began, 3))
    log.warning("zone_rebuilt", zone=zone, word=word, seq=report.seq, rows=report.rows, seconds=report.seconds)
    await store.reopen(zone, stale=store.zones[zone].epoch)
    return report


async def _write_zone(engine: Engine, zone: Zone, record: ZoneRecord, writer: ZoneWriter, ended_at: int) -> None:
    """Write everything that SQL has of the zone."""
    workload = Workload()
    await writer.write(_log_contents(zone, record.archived, record.epochs), rows=0)
    async for blocked in block_contents.read_contents(engine.archive, zone):
        await writer.write(blocked, rows=0)
    await writer.flush()
    async for entries in technician_entries.read_entries(engine.archive, zone, workload, ended_at):
        await writer.write_technicians(entries)


def _log_contents(zone: Zone, archived: int, epochs: Mapping[Epoch, int]) -> Contents:
    """Return the keys that say how far the zone's log and its readers are: the log is empty, and nothing is to be
    notified of."""
    first_seqs = {str(epoch): str(first) for epoch, first in epochs.items()}
    contents: Contents = {keys.push_cursor(zone): KeyContent("string", str(archived))}
    if first_seqs:
        contents[keys.epochs(zone)] = KeyContent("hash", first_seqs)
    return contents


async def _count_rows(archive: Archive, zone: Zone) -> int:
    return await technician_entries.count_technicians(archive, zone)


async def _time_of(archive: Archive, zone: Zone, seq: int) -> int:
    """Return the time (ms) of the archived event ``seq``; 0 if there is none."""
    query = select(events.c.at).where(events.c.zone == zone, events.c.seq == seq)
    async with archive.begin_read() as conn:
        return (await conn.execute(query)).scalar() or 0


@contextlib.asynccontextmanager
async def _renewed_lock(archive: Archive, zone: Zone, holder: str) -> AsyncIterator[None]:
    """Renew the lock while the block runs. A lock that cannot be renewed stops nothing: the right to write decides."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(control.LEASE_MS / 3_000)
            with contextlib.suppress(CalloutError):
                await control.take_lock(archive, zone, holder)

    task = asyncio.create_task(renew(), name=f"rebuild lock:{zone}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run_once(engine: Engine) -> list[RebuildReport]:
    """Rebuild each zone that is closed because Redis lacks what SQL has. A failed rebuild is logged; the next call
    begins it again."""
    reports = []
    for zone, state in engine.store.zones.items():
        if state.open or state.word not in REBUILT_WORDS or not engine.store.pipeline.is_up:
            continue
        try:
            report = await rebuild_zone(engine, zone)
        except (CalloutError, LostRight) as error:
            log.warning("zone_rebuild_failed", zone=zone, error=str(error) or type(error).__name__)
        else:
            reports += [report] if report else []
    return reports
