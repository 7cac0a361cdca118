"""The places of a zone's past jobs, so coarse that they draw a city and show no address."""

from __future__ import annotations

import math

import msgspec
from sqlalchemy import select, tuple_

from engine.rules.distances import METRES_PER_DEGREE
from engine.sql.database import Archive
from engine.sql.schema import jobs
from engine.types import Zone

GRID_M = 25.0
"""The places are the corners of a grid with about this width."""
MAX_JOBS = 10_000
"""How many of the newest jobs are read. 10,000 pickups in New York show the shape of Manhattan."""
PAGE_SIZE = 500
"""How many jobs are decoded at once, in about a millisecond."""


class _Place(msgspec.Struct):
    lat: float | None = None
    lon: float | None = None


_decoder = msgspec.json.Decoder(_Place)


async def read_places(archive: Archive, zone: Zone) -> list[tuple[float, float]]:
    """Return the rounded places (latitude, longitude) of the newest jobs that are over, each once. Raises
    Unavailable.
    """
    key, found = (jobs.c.created_at, jobs.c.id), set[tuple[float, float]]()
    query = select(*key, jobs.c.doc).where(jobs.c.zone == zone, jobs.c.phase.in_(("done", "closed")))
    query = query.order_by(*(column.desc() for column in key)).limit(PAGE_SIZE)
    last: tuple[int, str] | None = None
    for _ in range(MAX_JOBS // PAGE_SIZE):
        async with archive.begin_read() as conn:
            rows = (await conn.execute(query if last is None else query.where(tuple_(*key) < last))).all()
        places = [_decoder.decode(row.doc) for row in rows]
        found |= {round_place(each.lat, each.lon) for each in places if each.lat is not None and each.lon is not None}
        if len(rows) < PAGE_SIZE:
            break
        last = (rows[-1].created_at, rows[-1].id)
    return sorted(found)


def round_place(lat: float, lon: float) -> tuple[float, float]:
    """Return the nearest corner of the grid, in degrees. The columns of the grid are as wide as its rows are high at
    the place's latitude.
    """
    step = GRID_M / METRES_PER_DEGREE
    lat = max(-90.0, min(90.0, round(lat / step) * step))
    column = step / max(0.01, math.cos(math.radians(lat)))
    return round(lat, 6), round(max(-180.0, min(180.0, round(lon / column) * column)), 6)
