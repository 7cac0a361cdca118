"""The features of a synthetic town in GeoJSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from server.simulation.drive import Position, round_position
from server.simulation.town import Crossing

DISTRICTS = (
    ("Mill Quarter", "Harbour", "Old Docks"),
    ("Weavers' Hill", "Old Town", "Station Quarter"),
    ("Garden Suburb", "University", "Observatory"),
)
"""From south to north, and from west to east."""
DISTRICT_BLOCKS = 8
BLOCK_SHARE = 0.86
"""The side of a block of houses, as a part of the distance between its streets."""


def block_features(places: dict[Crossing, Position], blocks: Iterable[Crossing]) -> Iterator[dict[str, Any]]:
    """Yield the blocks of houses of each district as one feature. A block is named by its south-western crossing."""
    outlines: dict[str, list[list[list[Position]]]] = defaultdict(list)
    for i, j in blocks:
        corners = [places[crossing] for crossing in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))]
        outlines[DISTRICTS[j // DISTRICT_BLOCKS][i // DISTRICT_BLOCKS]].append([shrunk_ring(corners, BLOCK_SHARE)])
    for name, polygons in outlines.items():
        yield feature("block", name, polygons, "MultiPolygon")


def shrunk_ring(corners: list[Position], share: float) -> list[Position]:
    """Return a closed ring whose distance to its middle is ``share`` of that of the corners."""
    lat, lon = (sum(values) / len(corners) for values in zip(*corners, strict=True))
    inner = [round_position(lat + share * (y - lat), lon + share * (x - lon)) for y, x in corners]
    return [*inner, inner[0]]


def feature(kind: str, name: str, shape: Any, geometry: str = "LineString") -> dict[str, Any]:
    """Return a feature. GeoJSON has the longitude before the latitude."""
    return {
        "type": "Feature",
        "properties": {"kind": kind, "name": name},
        "geometry": {"type": geometry, "coordinates": _with_longitude_first(shape)},
    }


def _with_longitude_first(shape: Any) -> Any:
    if isinstance(shape, tuple):
        return [shape[1], shape[0]]
    return [_with_longitude_first(part) for part in shape]
