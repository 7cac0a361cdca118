"""Find foreign rows: rows with the seq of an event that is not archived yet, written by another program than the
archiver.

Without this check, the acknowledged event would be put into quarantine as faulty, and the foreign row would stay in its
place.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.job_states import state_rows
from engine.audit import trees
from engine.events import Event
from engine.sql.audit_tables import audit, audit_nodes
from engine.sql.database import Archive
from engine.sql.job_tables import job_states
from engine.sql.schema import event_channels, events, events_refused


async def find_foreign_row(archive: Archive, event: Event) -> str | None:
    """Return the name of a table that has a row with the seq of ``event``, although the event is not archived; None if
    no table has one. Raises Unavailable.
    """
    jobs = [row["job"] for row in state_rows(event)]
    places: list[tuple[Table, ColumnElement[bool]]] = [
        *((table, table.c.zone == event.zone) for table in (events, events_refused, audit)),
        (event_channels, (event_channels.c.zone == event.zone) & event_channels.c.channel.in_(event.to)),
        (job_states, job_states.c.job.in_(jobs)),
    ]
    async with archive.begin_read() as conn:
        for table, here in places:
            query = select(func.count()).select_from(table).where(here, table.c.seq == event.seq)
            if (await conn.execute(query)).scalar():
                return table.name
        return audit_nodes.name if await _has_foreign_node(conn, event) else None


async def _has_foreign_node(conn: AsyncConnection, event: Event) -> bool:
    """Return whether the zone's last tree has a stored node that is not complete yet."""
    state = await trees.read_state(conn, event.zone)
    if state is None:
        return False
    columns = audit_nodes.c
    here = (columns.zone == event.zone, columns.tree == state.tree)
    last = select(columns.level, func.max(columns.position)).where(*here).group_by(columns.level)
    return any(position + 1 << level > state.compact.size for level, position in await conn.execute(last))
