"""Pure functions that reduce the points of a path. Each point that is left out is near the line of the points that
stay.
"""

from __future__ import annotations

import bisect
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.distances import METRES_PER_DEGREE, distance_m
from engine.rules.paths import MAX_POINTS, TOLERANCE_M, PathPoint, extend_path, line_string_of, thin_path

PLACES = [(40.75, -73.99), (-33.9, 151.2), (0.0, 179.9999), (69.6, 18.9)]


def walk(seed: int, size: int, start: tuple[float, float] = PLACES[0], step_m: float = 30.0) -> list[PathPoint]:
    """Return a random walk with jitter: `size` points, one each 10 s, mostly straight on with turns."""
    draw = random.Random(seed)
    lat, lon = start
    north, east = 1.0, 0.0
    points = []
    for number in range(size):
        if draw.random() < 0.2:
            north, east = draw.choice([(1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (0, 0)])
        lat += (north * step_m + draw.uniform(-6, 6)) / METRES_PER_DEGREE
        lon += (east * step_m + draw.uniform(-6, 6)) / METRES_PER_DEGREE
        lon = (lon + 180) % 360 - 180
        points.append(PathPoint(lat, lon, 1_000_000 + number * 10_000))
    return points


def distance_from_path_m(point: PathPoint, path: list[PathPoint]) -> float:
    """Return the distance of a point from that line of a path whose ends were measured before and after the point. It
    is the least distance on the sphere from the places of the line, found by ternary search.
    """
    index = min(bisect.bisect_right(path, point.at, key=lambda each: each.at), len(path) - 1)
    start, end = path[max(0, index - 1)], path[index]
    east = (end.lon - start.lon + 180) % 360 - 180

    def distance_at(share: float) -> float:
        lat, lon = start.lat + (end.lat - start.lat) * share, start.lon + east * share
        return distance_m(point.lat, point.lon, lat, lon)

    low, high = 0.0, 1.0
    for _ in range(25):
        third = (high - low) / 3
        low, high = (low, high - third) if distance_at(low + third) < distance_at(high - third) else (low + third, high)
    return distance_at(low)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.sampled_from(PLACES))
def test_each_point_left_out_is_beside_the_line(seed: int, size: int, start: tuple[float, float]) -> None:
    """A reduced path begins and ends with the first and last point and has only points of the input, in order. Each
    point that was left out is within 10 m of it, also across the antimeridian.
    """
    points = walk(seed, size, start)
    thinned = thin_path(points)
    assert thinned == [point for point in points if point in set(thinned)]
    assert thinned[:1] == points[:1] and thinned[-1:] == points[-1:]
    assert all(distance_from_path_m(point, thinned) <= TOLERANCE_M + 0.2 for point in points)
    assert thin_path(points) == thinned


def test_a_straight_way_has_two_points_and_a_corner_stays() -> None:
    """Of a straight path only the two ends stay; of a path with one corner, the ends and the corner."""
    north = [PathPoint(40.75 + i / 5000, -73.99, i) for i in range(30)]
    east = [PathPoint(north[-1].lat, -73.99 + i / 5000, 29 + i) for i in range(1, 30)]
    assert thin_path(north) == [north[0], north[-1]]
    assert thin_path(north + east) == [north[0], north[-1], east[-1]]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), max_size=8))
def test_a_path_in_pieces_has_each_point_once(seed: int, pieces: list[tuple[int, int]]) -> None:
    """Pieces that overlap, come twice or come late extend a path only by what is newer than its end. The times rise,
    and each newer point is within 10 m of the path.
    """
    points, path = walk(seed, 80), []
    for first, size in [*sorted(pieces), *pieces]:
        piece = points[first : first + size]
        before, path = path, extend_path(path, piece)
        newer = [point for point in piece if not before or point.at > before[-1].at]
        assert all(distance_from_path_m(point, path) <= TOLERANCE_M + 0.2 for point in newer)
        assert extend_path(path, piece) == path
    assert [point.at for point in path] == sorted({point.at for point in path})


def test_a_very_long_path_is_thinned_more() -> None:
    """A path of more than `MAX_POINTS` corners keeps its ends and at most so many points."""
    zigzag = [PathPoint(40.0 + i / 2000, -74.0 + (i % 2) / 5000, i) for i in range(MAX_POINTS + 500)]
    path = extend_path(zigzag[:1000], zigzag[1000:])
    assert len(path) <= MAX_POINTS and path[0] == zigzag[0] and path[-1] == zigzag[-1]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_line_needs_two_points(size: int) -> None:
    """A path of fewer than two points is no GeoJSON line; others have longitude first, and a time for each point."""
    line = line_string_of([PathPoint(40.75, -73.99, 0), PathPoint(40.76, -73.98, 1500)][:size])
    if size < 2:
        assert line is None
        return
    assert line == {
        "type": "LineString",
        "coordinates": [[-73.99, 40.75], [-73.98, 40.76]],
        "times": ["1970-01-01T00:00:00.000Z", "1970-01-01T00:00:01.500Z"],
    }
