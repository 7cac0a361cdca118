"""The pulse of a zone: the requests that are expected in each area, and the jobs and technicians that are there now.

An *area* is an H3 cell of ``CELL_RESOLUTION``, one of its parents, or a postal code. A caller that asks for a cell with
few requests gets the pulse of a parent cell.
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
"""For an area with fewer requests in four weeks, its parent's pulse is given."""


class HourAhead(msgspec.Struct, frozen=True, array_like=True):
    """The requests that are expected in the hour that ends ``h`` hours after the last full hour: their mean, and their
    quantiles 0.1 and 0.9. Four of five such hours have a count between the two.
    """

    h: int
    mean: float
    p10: int
    p90: int


class AreaPulse(msgspec.Struct, omit_defaults=True):
    """The pulse of one area. ``waiting`` is how many jobs wait there now, ``free`` how many technicians are free there
    now. ``arrivals`` is how many requests are expected within an hour, ``freed`` how many technicians are expected to
    become free. ``now`` counts the requests since the last full hour. ``usual`` is how many requests the same hour of
    the week usually has, and ``lift`` is ``arrivals ÷ usual``. ``share`` is the area's share of the zone's requests (0
    to 1). ``score`` is the area's rank in the zone (0 to 100, the most needed). ``sample`` counts the requests of four
    weeks. ``multipliers`` has the demand multiplier (per mille) by blueprint, if it is not 1000. ``surge`` has the
    state that the next look needs (engine/rules/surge.py).
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


@lru_cache(65_536)
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
    """Return the cells that touch a cell: six, or five around a pentagon."""
    return [f"{each:x}" for each in cells.load_library().grid_ring(int(cell, 16), 1)]


def cell_outline(cell: str) -> list[list[float]]:
    """Return the outline of a cell as a ring of GeoJSON: longitude and latitude of each corner, the first also last."""
    corners = [[round(lon, 6), round(lat, 6)] for lat, lon in cells.load_library().cell_to_boundary(int(cell, 16))]
    return [*corners, corners[0]]


def cell_centre(cell: str) -> tuple[float, float]:
    """Return the latitude and the longitude of a cell's centre."""
    _, lat, lon = cells.cell_place(int(cell, 16))
    return lat, lon


@lru_cache(65_536)
def is_smallest(cell: str) -> bool:
    """Return whether a cell is of ``CELL_RESOLUTION``, and not a parent."""
    return bool(cells.load_library().get_resolution(int(cell, 16)) == CELL_RESOLUTION)


def find_sampled(kind: AreaKind, area: str, pulses: Mapping[str, AreaPulse]) -> str:
    """Return the area whose pulse is used for ``area``: the smallest of ``area`` and its parents with enough requests;
    if none has enough, the largest with a pulse. At least one of them must have a pulse.
    """
    known = [name for name in (lineage_of(area) if kind == "cell" else (area,)) if name in pulses]
    return next((name for name in known if pulses[name].sample >= LEAST_SAMPLE), known[-1])


def cell_at(lat: float, lon: float) -> str:
    """Return the name of the cell of ``CELL_RESOLUTION`` at a position."""
    return f"{cells.cell_of(lat, lon, CELL_RESOLUTION):x}"
