"""The features of a synthetic town in GeoJSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from server.simulation.drive import Position, round_position
from server.simulation.town import Crossing

DISTRICTS = (
    ("Mill Quarter", "Harbour", "Old Docks"),
    ("Weavers' Hill", "Old Town", "Station Quarter"),
    ("Garden Suburb", "University", "Observatory"),
)
"""The names of the districts, from south to north, and from west to east in each row."""
DISTRICT_BLOCKS = 8
BLOCK_SHARE = 0.86
"""The side of a block of houses, as a share of the distance between its streets."""
SMOOTHINGS = 2
PARK_NAMES = ("Linden Park", "Castle Gardens", "Swan Meadow", "Rose Park", "Hop Garden", "Kite Hill")
BRIDGE_NAMES = ("Mill", "Chain", "Cathedral", "Stone", "Market", "Harbour", "Swan", "Iron", "Weavers'", "Ferry")


def block_features(places: dict[Crossing, Position], blocks: Iterable[Crossing]) -> Iterator[dict[str, Any]]:
    """Yield the blocks of houses of each district as one feature. A block is named by its south-western crossing."""
    outlines: dict[str, list[list[list[Position]]]] = defaultdict(list)
    for i, j in blocks:
        corners = [places[crossing] for crossing in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))]
        outlines[DISTRICTS[j // DISTRICT_BLOCKS][i // DISTRICT_BLOCKS]].append([shrunk_ring(corners, BLOCK_SHARE)])
    for name, polygons in outlines.items():
        yield feature("block", name, polygons, "MultiPolygon")
        corners = [position for (ring,) in polygons for position in ring[:-1]]
        lat, lon = (sum(values) / len(corners) for values in zip(*corners, strict=True))
        yield feature("district", name, round_position(lat, lon), "Point")


def shrunk_ring(corners: list[Position], share: float) -> list[Position]:
    """Return a closed ring whose distance to its middle is ``share`` of that of the corners."""
    lat, lon = (sum(values) / len(corners) for values in zip(*corners, strict=True))
    inner = [round_position(lat + share * (y - lat), lon + share * (x - lon)) for y, x in corners]
    return [*inner, inner[0]]


def smooth_line(line: Sequence[Position]) -> list[Position]:
    """Return the line without its sharp corners: each is cut off, at a quarter of its sides (Chaikin, 1974)."""
    for _ in range(SMOOTHINGS):
        cut = [line[0]]
        for (south, west), (north, east) in pairwise(line):
            cut += [(part * north + (1 - part) * south, part * east + (1 - part) * west) for part in (0.25, 0.75)]
        line = [*cut, line[-1]]
    return [round_position(*position) for position in line]


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
