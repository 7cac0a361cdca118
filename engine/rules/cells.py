"""Cells of the H3 grid. A map shows the number of people or jobs in each cell if they are too many to show one by one.

The package ``h3`` is imported at the first use, because most processes never need it and it takes a tenth of a second.
"""

from __future__ import annotations

import functools
from typing import Any

from engine.rules.boxes import MapBox

MAX_CELLS = 400
"""About how many cells a box may contain. More are too small to read on a map."""
FINEST_RESOLUTION = 12
"""The resolution of the smallest cells, about 19 m wide."""


@functools.cache
def load_library() -> Any:
    """Import ``h3`` and return its functions. The first call takes a tenth of a second."""
    from h3.api import basic_int

    return basic_int


def resolution_for(box: MapBox) -> int:
    """Return the finest resolution of which ``box`` contains at most about ``MAX_CELLS`` cells."""
    fitting = (r for r in range(FINEST_RESOLUTION, 0, -1) if box.area_km2 <= MAX_CELLS * _average_area_km2(r))
    return next(fitting, 0)


@functools.cache
def _average_area_km2(resolution: int) -> float:
    return float(load_library().average_hexagon_area(resolution, unit="km^2"))


def cell_of(lat: float, lon: float, resolution: int) -> int:
    """Return the cell of this resolution that contains the position."""
    return int(load_library().latlng_to_cell(lat, lon, resolution))


@functools.lru_cache(4096)
def cell_place(cell: int) -> tuple[str, float, float]:
    """Return the name of ``cell`` (hexadecimal, as H3 writes it), and the latitude and the longitude of its centre."""
    lat, lon = load_library().cell_to_latlng(cell)
    return str(load_library().int_to_str(cell)), round(lat, 6), round(lon, 6)
