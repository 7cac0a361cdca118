"""Write the ledger from events that an older release archived without a ledger. The first archiver of this release does
this when it gets the lease of a zone. An older release wrote no earnings when a job was done. Therefore the money of
such a job stays in the job's account, as ``callout ledger check`` shows.
"""

from __future__ import annotations

from functools import partial

import msgspec
import structlog
from sqlalchemy import select

from engine.archive import ledger_rows, reader
from engine.archive.ledger_projection import LEDGER_TYPES, LedgerRows, fold_ledger_event
from engine.archive.reader import Checkpoint
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.ledger_tables import ledger_progress
from engine.sql.schema import events
from engine.types import Zone

PAGE_SIZE = 5_000
"""How many seqs are folded in one transaction."""

log = structlog.get_logger(__name__)


async def refill(archive: Archive, zone: Zone, checkpoint: Checkpoint | None) -> None:
    """Bring the ledger up to the zone's checkpoint. Raises the same errors as ``Archive.begin_write``."""
    while checkpoint:
        async with archive.begin_read() as conn:
            query = select(ledger_progress.c.seq).where(ledger_progress.c.zone == zone)
            seq = (await conn.execute(query)).scalar()
        if seq is not None and seq >= checkpoint.seq:
            return
        await _fold_page(archive, zone, seq, min((seq or 0) + PAGE_SIZE, checkpoint.seq))


async def _fold_page(archive: Archive, zone: Zone, before: int | None, until: int) -> None:
    """Fold the archived events with ``before`` < seq ≤ ``until``, unless another archiver has folded them."""
    upsert, columns, rows = partial(insert_into, archive), events.c, LedgerRows()
    async with archive.begin_write() as conn:
        if not await ledger_rows.move_progress(conn, upsert, zone, before, until):
            return
        span = (columns.zone == zone, columns.seq > (before or 0), columns.seq <= until)
        query = select(events).where(*span, columns.type.in_(LEDGER_TYPES)).order_by(columns.seq)
        for row in (await conn.execute(query)).mappings():
            event = reader.event_of_row(row)
            try:
                fold_ledger_event(rows, event)
            except (msgspec.DecodeError, ValueError) as error:
                log.error("event_not_projected", zone=zone, seq=event.seq, type=event.type, error=str(error))
        await ledger_rows.apply_rows(conn, upsert, zone, rows)
