"""Builds the synthetic town of a demo: streets, ring roads, a river with bridges, and parks.

No data of real streets is needed, so a demo works without a network, around any position. The same centre and seed
always give the same town.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import cycle, pairwise
from typing import Any

from server.simulation.drive import METRES_PER_DEGREE, Position, round_position
from server.simulation.street_names import AVENUES, STREETS
from server.simulation.town import RING_M_S, STREET_M_S, Crossing, Road, Town
from server.simulation.town_features import BRIDGE_NAMES, PARK_NAMES, block_features, feature, shrunk_ring, smooth_line

STREETS_EACH_WAY = 25
"""The number of streets in each direction."""
MIDDLE = STREETS_EACH_WAY // 2
BLOCK_M = (90.0, 130.0)
UNEVENNESS_M = 12.0
RING_SIZES = (5, 10)
"""The distance of each ring road from the middle, in blocks."""
PARK_SHARE = 0.94
"""The size of a park, as a share of the block that its streets enclose."""
Park = tuple[int, int, int, int]
"""The first avenue and street, and the last avenue and street."""


def build_town(centre: Position, seed: int) -> Town:
    """Return the town around ``centre``."""
    rng = random.Random(f"town {seed}")
    places = _place_crossings(centre, rng)
    river_row = _river_rows(rng)
    rings = [_ring_road(size) for size in RING_SIZES]
    ring_roads = {_road(*pair) for ring in rings for pair in pairwise(ring)}
    streets = {
        _road((i, j), end)
        for i in range(STREETS_EACH_WAY)
        for j in range(STREETS_EACH_WAY)
        for end in ((i + 1, j), (i, j + 1))
        if end in places
    }
    crossing_river = {road for road in streets | ring_roads if _crosses_river(road, river_row)}
    bridges = {
        road for road in crossing_river if road in ring_roads or (road[0][0] == road[1][0] and _has_bridge(road))
    }
    parks = _parks(rng, crossing_river, ring_roads)
    streets -= (crossing_river - bridges) | {road for park in parks for road in _roads_inside(park)}
    roads: dict[Crossing, dict[Crossing, float]] = {}
    for road in sorted(streets | ring_roads):
        speed = RING_M_S if road in ring_roads else STREET_M_S
        for start, end in (road, road[::-1]):
            roads.setdefault(start, {})[end] = speed
    features = [
        *block_features(places, _blocks_of_houses(parks, river_row)),
        *(
            feature("park", name, [_park_outline(park, places)], "Polygon")
            for name, park in zip(PARK_NAMES, parks, strict=True)
        ),
        feature("river", "River", _river_line(river_row, places)),
        *_street_features(streets, places),
        *(
            feature("ring_road", name, [places[crossing] for crossing in ring])
            for name, ring in zip(("Inner Ring", "Outer Ring"), rings, strict=True)
        ),
        *(
            feature("bridge", f"{name} Bridge", [places[start], places[end]])
            for name, (start, end) in zip(cycle(BRIDGE_NAMES), sorted(bridges), strict=False)
        ),
    ]
    return Town(places, roads, {"type": "FeatureCollection", "centre": [centre[1], centre[0]], "features": features})


def _blocks_of_houses(parks: list[Park], river_row: list[int]) -> Iterator[Crossing]:
    """Yield the south-western crossing of each block of houses: no park and no river is in it."""
    green = {(i, j) for left, bottom, right, top in parks for i in range(left, right) for j in range(bottom, top)}
    for i in range(STREETS_EACH_WAY - 1):
        wet = range(min(river_row[i : i + 2]), max(river_row[i : i + 2]) + 1)
        yield from ((i, j) for j in range(STREETS_EACH_WAY - 1) if j not in wet and (i, j) not in green)


def _place_crossings(centre: Position, rng: random.Random) -> dict[Crossing, Position]:
    across, up = _street_offsets_m(rng), _street_offsets_m(rng)
    width = METRES_PER_DEGREE * math.cos(math.radians(centre[0]))

    def uneven(metres: float) -> float:
        return metres + rng.uniform(-UNEVENNESS_M, UNEVENNESS_M)

    return {
        (i, j): round_position(centre[0] + uneven(up[j]) / METRES_PER_DEGREE, centre[1] + uneven(across[i]) / width)
        for i in range(STREETS_EACH_WAY)
        for j in range(STREETS_EACH_WAY)
    }


def _street_offsets_m(rng: random.Random) -> list[float]:
    """Return the distance of each street from the middle one, which is at 0."""
    offsets = [0.0]
    for _ in range(STREETS_EACH_WAY - 1):
        offsets.append(offsets[-1] + rng.uniform(*BLOCK_M))
    return [offset - offsets[MIDDLE] for offset in offsets]


def _river_rows(rng: random.Random) -> list[int]:
    """Return for each avenue the street south of the river. It changes by at most 1 from one avenue to the next."""
    rows = [MIDDLE - 3]
    while len(rows) < STREETS_EACH_WAY:
        rows.append(max(MIDDLE - 5, min(MIDDLE + 3, rows[-1] + rng.choice((-1, 0, 0, 1)))))
    return rows


def _crosses_river(road: Road, river_row: list[int]) -> bool:
    south = [j <= river_row[i] for i, j in road]
    return south[0] != south[1]


def _has_bridge(road: Road) -> bool:
    return road[0][0] % 4 == 2


def _ring_road(size: int) -> list[Crossing]:
    """Return the crossings of a closed octagon around the middle."""
    cut = size // 2
    side = [(size, y) for y in range(-size + cut, size - cut)] + [(size - n, size - cut + n) for n in range(cut)]
    ring = []
    for _ in range(4):
        ring += side
        side = [(-y, x) for x, y in side]
    return [(MIDDLE + x, MIDDLE + y) for x, y in [*ring, ring[0]]]


def _road(start: Crossing, end: Crossing) -> Road:
    return (start, end) if start < end else (end, start)


def _parks(rng: random.Random, crossing_river: set[Road], ring_roads: set[Road]) -> list[Park]:
    parks: list[Park] = []
    while len(parks) < len(PARK_NAMES):
        i, j = rng.randint(1, STREETS_EACH_WAY - 5), rng.randint(1, STREETS_EACH_WAY - 5)
        park = (i, j, i + rng.randint(2, 3), j + rng.randint(2, 3))
        apart = all(park[2] < p[0] or p[2] < park[0] or park[3] < p[1] or p[3] < park[1] for p in parks)
        inside = set(_roads_inside((park[0] - 1, park[1] - 1, park[2] + 1, park[3] + 1)))
        through = {(x, y) for x in range(i + 1, park[2]) for y in range(j + 1, park[3])}
        if apart and not inside & crossing_river and not any({start, end} & through for start, end in ring_roads):
            parks.append(park)
    return parks


def _roads_inside(park: Park) -> Iterator[Road]:
    """Yield the roads of which at least one end is inside the park and not at its edge."""
    left, bottom, right, top = park
    for i in range(left + 1, right):
        for j in range(bottom + 1, top):
            for end in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                yield _road((i, j), end)


def _park_outline(park: Park, places: dict[Crossing, Position]) -> list[Position]:
    """Return the edge of the park, a few metres away from its streets. It is anticlockwise, as GeoJSON demands."""
    left, bottom, right, top = park
    edge = [(i, bottom) for i in range(left, right)] + [(right, j) for j in range(bottom, top)]
    edge += [(i, top) for i in range(right, left, -1)] + [(left, j) for j in range(top, bottom, -1)]
    corners = [places[crossing] for crossing in edge]
    return shrunk_ring(corners, PARK_SHARE)


def _river_line(river_row: list[int], places: dict[Crossing, Position]) -> list[Position]:
    line = []
    for i, row in enumerate(river_row):
        (south, west), (north, east) = places[i, row], places[i, row + 1]
        line.append(round_position((south + north) / 2, (west + east) / 2))
    return smooth_line(line)


def _street_features(streets: set[Road], places: dict[Crossing, Position]) -> Iterator[dict[str, Any]]:
    """Yield the pieces of each street, which the river and the parks cut."""
    for names, step in ((STREETS, (1, 0)), (AVENUES, (0, 1))):
        for number, name in enumerate(names):
            line = [(n, number) if step == (1, 0) else (number, n) for n in range(STREETS_EACH_WAY)]
            piece = [line[0]]
            for start, end in pairwise([*line, (-1, -1)]):
                if _road(start, end) in streets:
                    piece.append(end)
                    continue
                if len(piece) > 1:
                    yield feature("street", name, [places[crossing] for crossing in piece])
                piece = [end]
