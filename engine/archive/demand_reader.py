"""Queries on the counts of requests. All functions raise Unavailable."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import bindparam, func, literal_column, select

from engine.archive.demand_projection import POSTAL_CELL
from engine.sql.compiled import CompiledStatement
from engine.sql.database import Archive
from engine.sql.demand_tables import demand_hours
from engine.types import Zone

HourlyCounts = dict[int, dict[str, int]]
"""The requests of each hour, by area. Hours and areas without requests may be missing."""


_columns = demand_hours.c
_requests = _columns.booked + _columns.quoted
_READ_HOURS = CompiledStatement(
    lambda: (
        select(_columns.hour, _columns.area, _requests)
        .where(
            _columns.zone == bindparam("of_zone"),
            _columns.kind == bindparam("of_kind"),
            _columns.hour >= bindparam("first"),
            _columns.hour <= bindparam("last"),
            _requests > literal_column("0"),
        )
        .order_by(_columns.hour, _columns.area)
    )
)


async def first_hour(archive: Archive, zone: Zone, kind: str) -> int | None:
    """Return the first hour in which anything was counted, or None."""
    columns = demand_hours.c
    query = select(func.min(columns.hour)).where(columns.zone == zone, columns.kind == kind)
    async with archive.begin_read() as conn:
        found: int | None = (await conn.execute(query)).scalar()
        return found


async def read_hours(archive: Archive, zone: Zone, kind: str, first: int, last: int) -> HourlyCounts:
    """Return the requests of the hours from ``first`` to ``last``: bookings, and quotes that were not booked."""
    found: HourlyCounts = defaultdict(dict)
    async with archive.begin_read() as conn:
        found_rows = await _READ_HOURS.run(conn, of_zone=zone, of_kind=kind, first=first, last=last)
        rows: list[Any] = list(found_rows.all())
    for hour, area, requests in rows:
        found[hour][area] = requests
    return found


async def read_postal_cells(archive: Archive, zone: Zone, first: int) -> list[tuple[str, str, int]]:
    """Return each pair of a postal code and a cell in which bookings were counted since the hour ``first``, with their
    number.
    """
    columns = demand_hours.c
    total = func.sum(columns.booked)
    span = (columns.zone == zone, columns.kind == POSTAL_CELL, columns.hour >= first)
    query = select(columns.area, total.label("total")).where(*span).group_by(columns.area).order_by(columns.area)
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
    pairs = ((row.area.rpartition(" "), int(row.total)) for row in rows)
    return [(code, cell, total) for (code, _, cell), total in pairs]
