"""Read the records of technicians, as a zone's Redis is to have them, from SQL.

A profile is SQL's. What technicians did is in ``technician_states``. Positions are as old as the last snapshot of
engine/workers/position_archive.py. Fields that only serve to check the next fix are left out
(engine/rebuild/ephemeral.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rebuild.writer import TechnicianEntry
from engine.sql.database import Archive
from engine.sql.schema import positions, technicians
from engine.sql.technician_tables import technician_states
from engine.technicians import live, sql
from engine.types import Zone

PAGE_SIZE = 200
RECENT_MS = 60_000
"""A technician who came online or became free so short a time before the log ended may have missed the search for open
jobs that follows."""
UNKNOWN_PROFILE = "0"
"""The profile version of a record that contradicts the profile: the next repair writes the profile with all its
consequences (engine/technicians/sql.py)."""


@dataclass(slots=True)
class Workload:
    """How many jobs technicians hold: ``held`` counts all, ``ahead`` those that do not count in the load yet."""

    held: Counter[str] = field(default_factory=Counter)
    ahead: Counter[str] = field(default_factory=Counter)


async def read_entries(
    archive: Archive, zone: Zone, workload: Workload, ended_at: int, ids: Collection[str] | None = None
) -> AsyncIterator[list[TechnicianEntry]]:
    """Yield the records of the zone's technicians, or of those with these ``ids``, in pages. ``ended_at`` is the time
    (ms) of the last archived event. Raises Unavailable.
    """
    last = ""
    while True:
        page = sql.select_all_technicians().where(technicians.c.zone == zone, technicians.c.id > last)
        if ids is not None:
            page = page.where(technicians.c.id.in_(ids))
        async with archive.begin_read() as conn:
            rows = await sql.load_rows(conn, page.order_by(technicians.c.id).limit(PAGE_SIZE))
            if not rows:
                return
            states = await _rows_by_technician(conn, technician_states, zone, [row.id for row in rows])
            fixes = await _rows_by_technician(conn, positions, zone, [row.id for row in rows])
        yield [
            _entry(row, states.get(row.id), fixes.get(row.id), workload, recent_since=ended_at - RECENT_MS)
            for row in rows
        ]
        last = rows[-1].id


async def _rows_by_technician(conn: AsyncConnection, table: Any, zone: Zone, ids: list[Any]) -> dict[str, Any]:
    query = select(table).where(table.c.zone == zone, table.c.technician.in_(ids))
    return {row.technician: row for row in await conn.execute(query)}


def _entry(row: sql.TechnicianRow, state: Any, fix: Any, workload: Workload, *, recent_since: int) -> TechnicianEntry:
    record = sql.record_of_row(row)
    fields = {name: _redis_text(value) for name, value in live.profile_fields(record).items()}
    ahead = workload.ahead[row.id]
    fields["load"] = str(workload.held[row.id] - ahead)
    if ahead:
        fields["ahead"] = str(ahead)
    if fix is not None:
        fields |= {"lat": repr(fix.lat), "lon": repr(fix.lon), "fix_at": str(fix.at), "acc": "", "jump": ""}
    if state is not None:
        numbers = {"accepted": state.accepted, "asked": state.asked, "free_at": state.free_at}
        fields |= {name: str(number) for name, number in numbers.items() if number}
        fields |= {"works": state.works} if state.works else {}
        fields["online"] = "1" if state.online else ""
        is_approved = record.complete and record.kyc == record.account == "approved"
        if state.online and not is_approved:
            fields["profile"] = UNKNOWN_PROFILE
    return TechnicianEntry(row.id, fields, state is not None and state.free_at >= recent_since)


def _redis_text(value: str | float | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def without_position(entry: TechnicianEntry) -> TechnicianEntry:
    """Return the record without the position: Redis has a newer one."""
    position = ("lat", "lon", "fix_at", "acc", "jump")
    return entry._replace(fields={name: text for name, text in entry.fields.items() if name not in position})
