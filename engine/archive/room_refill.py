"""Fill the tables of chat rooms with events that an older release archived.

While a deployment is updated, the archiver of the older release may still work. It stores events of rooms in the table
``events``, but does not know the tables of rooms. Therefore the next archiver of this release first calls ``refill``.
"""

from __future__ import annotations

from functools import partial

import msgspec
import structlog
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive import reader, room_projection, room_rows
from engine.archive.apply import VALUE_REFUSED_ERRORS
from engine.archive.reader import Checkpoint
from engine.archive.room_projection import ROOM_EVENT_PREFIXES, RoomRows
from engine.events import Event
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.room_tables import room_progress
from engine.sql.schema import events
from engine.types import Zone

PAGE_SIZE = 1_000
"""How many seqs are examined in one transaction."""

log = structlog.get_logger(__name__)


async def refill(archive: Archive, zone: Zone) -> Checkpoint | None:
    """Bring the tables of rooms up to the zone's checkpoint, and return the checkpoint. Raises the same errors as
    ``Archive.begin_write``.
    """
    checkpoint = await reader.checkpoint(archive, zone)
    while checkpoint:
        seq = await _read_progress(archive, zone)
        if seq is not None and seq >= checkpoint.seq:
            break
        await _fill_page(archive, zone, seq, min((seq or 0) + PAGE_SIZE, checkpoint.seq))
    return checkpoint


async def _read_progress(archive: Archive, zone: Zone) -> int | None:
    async with archive.begin_read() as conn:
        return (await conn.execute(select(room_progress.c.seq).where(room_progress.c.zone == zone))).scalar()


async def _fill_page(archive: Archive, zone: Zone, before: int | None, until: int) -> None:
    """Fold the archived events with ``before`` < seq ≤ ``until``, unless another archiver did so. An event whose rows
    the database refuses is left out, as in the quarantine.
    """
    after = before or 0
    try:
        await _apply_page(archive, zone, before, until)
    except VALUE_REFUSED_ERRORS as error:
        if until - after > 1:
            await _fill_page(archive, zone, before, after + (until - after) // 2)
            return
        log.error("event_not_projected", zone=zone, seq=until, error=str(error))
        async with archive.begin_write() as conn:
            await room_rows.move_progress(conn, partial(insert_into, archive), zone, before, until)


async def _apply_page(archive: Archive, zone: Zone, before: int | None, until: int) -> None:
    upsert = partial(insert_into, archive)
    async with archive.begin_write() as conn:
        if await room_rows.move_progress(conn, upsert, zone, before, until):
            rows = RoomRows()
            for event in await _room_events(conn, zone, before or 0, until):
                try:
                    room_projection.fold_room_event(rows, event)
                except (msgspec.DecodeError, ValueError) as error:
                    log.error("event_not_projected", zone=zone, seq=event.seq, type=event.type, error=str(error))
            await room_rows.apply_rows(conn, upsert, rows)


async def _room_events(conn: AsyncConnection, zone: Zone, after: int, until: int) -> list[Event]:
    columns = events.c
    of_rooms = or_(*(columns.type.startswith(prefix) for prefix in ROOM_EVENT_PREFIXES))
    span = (columns.zone == zone, columns.seq > after, columns.seq <= until)
    query = select(events).where(*span, of_rooms).order_by(columns.seq)
    return [reader.event_of_row(row) for row in (await conn.execute(query)).mappings()]
