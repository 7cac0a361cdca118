"""The pulse of a zone: what is expected of each area, and what is there now.

An *area* is an H3 cell of ``CELL_RESOLUTION``, one of its parents, or a postal code. A cell with few requests answers
with its parent's pulse.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import msgspec

from engine.rules import cells
from engine.rules.surge import SurgeState

AreaKind = Literal["cell", "postal_code"]
AREA_KINDS: tuple[AreaKind, ...] = ("cell", "postal_code")
CELL_RESOLUTION = 8
"""The resolution of the areas: hexagons of about 0.7 km²."""
COARSEST_RESOLUTION = 5
"""The resolution of the largest areas, of about 250 km²."""
LEAST_SAMPLE = 30
"""An area with fewer requests in four weeks answers with its parent's pulse."""


class HourAhead(msgspec.Struct, frozen=True, array_like=True):
    """The requests that are expected in the hour that ends ``h`` hours after the last full hour: the mean, and the band
    that holds four of five hours.
    """

    h: int
    mean: float
    p10: int
    p90: int


class AreaPulse(msgspec.Struct, omit_defaults=True):
    """What is known of one area. ``waiting`` jobs and ``free`` technicians are there now; ``arrivals`` requests and
    ``freed`` technicians are expected within an hour. ``now`` counts the requests of the running hour. ``usual`` are
    the requests of such an hour without what is special now; ``lift`` is ``arrivals`` divided by it. ``share`` is the
    area's share of the zone's requests. ``score`` is the area's rank in the zone (0 to 100). ``sample`` counts the
    requests of four weeks. ``multipliers`` has the demand multiplier (per mille) of each blueprint that has one;
    ``surge`` is what the rule of prices needs at its next look.
    """

    score: float = 0.0
    lift: float = 1.0
    share: float = 0.0
    now: int = 0
    waiting: int = 0
    free: int = 0
    arrivals: float = 0.0
    freed: float = 0.0
    usual: float = 0.0
    ahead: tuple[HourAhead, ...] = ()
    sample: int = 0
    multipliers: dict[str, int] = {}
    surge: dict[str, SurgeState] = {}


def lineage_of(cell: str) -> tuple[str, ...]:
    """Return a cell and its parents up to ``COARSEST_RESOLUTION``, the finest first."""
    number, library = int(cell, 16), cells.load_library()
    finest = library.get_resolution(number)
    return (
        cell,
        *(f"{library.cell_to_parent(number, size):x}" for size in range(finest - 1, COARSEST_RESOLUTION - 1, -1)),
    )


@lru_cache(65_536)
def cell_ring(cell: str) -> list[str]:
    """Return the cells around a cell."""
    return [f"{each:x}" for each in cells.load_library().grid_ring(int(cell, 16), 1)]


def cell_outline(cell: str) -> list[list[float]]:
    """Return the outline of a cell as a ring of GeoJSON: longitude and latitude of each corner, the first also last."""
    corners = [[round(lon, 6), round(lat, 6)] for lat, lon in cells.load_library().cell_to_boundary(int(cell, 16))]
    return [*corners, corners[0]]


def cell_centre(cell: str) -> tuple[float, float]:
    """Return the latitude and the longitude of a cell's centre."""
    _, lat, lon = cells.cell_place(int(cell, 16))
    return lat, lon


def is_smallest(cell: str) -> bool:
    """Return whether a cell is of ``CELL_RESOLUTION``, and not a parent."""
    return bool(cells.load_library().get_resolution(int(cell, 16)) == CELL_RESOLUTION)


def find_sampled(kind: AreaKind, area: str, pulses: Mapping[str, AreaPulse]) -> str:
    """Return the area whose pulse answers for ``area``: the first of it and its parents with enough requests, else the
    largest that has a pulse. ``area`` has one.
    """
    known = [name for name in (lineage_of(area) if kind == "cell" else (area,)) if name in pulses]
    return next((name for name in known if pulses[name].sample >= LEAST_SAMPLE), known[-1])


def cell_at(lat: float, lon: float) -> str:
    """Return the name of the cell of ``CELL_RESOLUTION`` at a position."""
    return f"{cells.cell_of(lat, lon, CELL_RESOLUTION):x}"
