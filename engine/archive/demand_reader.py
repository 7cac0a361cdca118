"""Queries on the counts of requests. All functions raise Unavailable."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import func, select

from engine.archive.demand_projection import POSTAL_CELL
from engine.sql.database import Archive
from engine.sql.demand_tables import demand_hours
from engine.types import Zone

HourlyCounts = dict[int, dict[str, int]]
"""The requests of each hour, by area. Hours and areas without requests may be missing."""


async def first_hour(archive: Archive, zone: Zone, kind: str) -> int | None:
    """Return the first hour in which anything was counted, or None."""
    columns = demand_hours.c
    query = select(func.min(columns.hour)).where(columns.zone == zone, columns.kind == kind)
    async with archive.begin_read() as conn:
        found: int | None = (await conn.execute(query)).scalar()
        return found


async def read_hours(archive: Archive, zone: Zone, kind: str, first: int, last: int) -> HourlyCounts:
    """Return the requests of the hours from ``first`` to ``last``: bookings, and quotes that were not booked."""
    columns = demand_hours.c
    span = (columns.zone == zone, columns.kind == kind, columns.hour >= first, columns.hour <= last)
    requests = columns.booked + columns.quoted
    query = select(columns.hour, columns.area, requests.label("requests")).where(*span, requests > 0)
    found: HourlyCounts = defaultdict(dict)
    async with archive.begin_read() as conn:
        for row in await conn.execute(query.order_by(columns.hour, columns.area)):
            found[row.hour][row.area] = row.requests
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
