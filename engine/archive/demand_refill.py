"""Count the requests in events that an older release archived without counting. The first archiver of this release does
this when it gets the lease of a zone.
"""

from __future__ import annotations

from functools import partial

import msgspec
import structlog
from sqlalchemy import select

from engine.archive import demand_rows, reader
from engine.archive.demand_projection import DEMAND_EVENTS, DemandCounts, fold_demand_event
from engine.archive.reader import Checkpoint
from engine.sql.database import Archive
from engine.sql.demand_tables import demand_progress
from engine.sql.insert import insert_into
from engine.sql.schema import events
from engine.types import Zone

PAGE_SIZE = 5_000
"""How many seqs are counted in one transaction."""

log = structlog.get_logger(__name__)


async def refill(archive: Archive, zone: Zone, checkpoint: Checkpoint | None) -> None:
    """Bring the counts up to the zone's checkpoint. Raises the same errors as ``Archive.begin_write``."""
    while checkpoint:
        async with archive.begin_read() as conn:
            query = select(demand_progress.c.seq).where(demand_progress.c.zone == zone)
            seq = (await conn.execute(query)).scalar()
        if seq is not None and seq >= checkpoint.seq:
            return
        await _count_page(archive, zone, seq, min((seq or 0) + PAGE_SIZE, checkpoint.seq))


async def _count_page(archive: Archive, zone: Zone, before: int | None, until: int) -> None:
    """Count the archived events with ``before`` < seq ≤ ``until``, unless another archiver has counted them."""
    upsert, columns, counts = partial(insert_into, archive), events.c, DemandCounts()
    async with archive.begin_write() as conn:
        if not await demand_rows.move_progress(conn, upsert, zone, before, until):
            return
        span = (columns.zone == zone, columns.seq > (before or 0), columns.seq <= until)
        query = select(events).where(*span, columns.type.in_(DEMAND_EVENTS)).order_by(columns.seq)
        for row in (await conn.execute(query)).mappings():
            event = reader.event_of_row(row)
            try:
                fold_demand_event(counts, event)
            except (msgspec.DecodeError, ValueError) as error:
                log.error("event_not_projected", zone=zone, seq=event.seq, type=event.type, error=str(error))
        await demand_rows.add_counts(conn, upsert, zone, counts)
