"""The path of a technician on a job: the positions that were shared, thinned by the Douglas–Peucker algorithm.

Thinning leaves out the points that lie within ``TOLERANCE_M`` metres of the line through the remaining points. It is
written here because it is short. The packages that have it (``simplification``, ``shapely``) need numpy and compute in
degrees, in which a tolerance in metres depends on the latitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, radians
from typing import Any, NamedTuple

from engine.events import rfc3339_of
from engine.rules.distances import METRES_PER_DEGREE

TOLERANCE_M = 10.0
MAX_POINTS = 2_000
"""The most points of one path: a winding way of about 200 km. A longer path is thinned with twice the tolerance, again
and again until it fits."""
CHUNK_POINTS = 256


class PathPoint(NamedTuple):
    """One position of a path in degrees (WGS 84), and the time of its measurement in ms since the Unix epoch."""

    lat: float
    lon: float
    at: int


def thin_path(points: Sequence[PathPoint], tolerance_m: float = TOLERANCE_M) -> list[PathPoint]:
    """Return the points in their order, without those that are at most ``tolerance_m`` metres from the line through the
    remaining ones. The first and the last point stay, and each ``CHUNK_POINTS``-th one, because the work can grow with
    the square of the number of points of a chunk.
    """
    kept = list(points[:1])
    for first in range(0, len(points) - 1, CHUNK_POINTS):
        chunk = points[first : first + CHUNK_POINTS + 1]
        kept += [chunk[i] for i in _kept_indices(_plane_of(chunk), tolerance_m**2)]
    return kept


def extend_path(path: Sequence[PathPoint], newer: Sequence[PathPoint]) -> list[PathPoint]:
    """Return a thinned path with the points of ``newer`` that were measured after its end. So points that are given
    twice are added once. The result has at most ``MAX_POINTS`` points.
    """
    end = path[-1].at if path else -1
    added = [point for point in newer if point.at > end]
    if not added:
        return list(path)
    longer, tolerance_m = [*path[:-1], *thin_path([*path[-1:], *added])], TOLERANCE_M
    while len(longer) > MAX_POINTS:
        tolerance_m *= 2
        longer = thin_path(longer, tolerance_m)
    return longer


def line_string_of(points: Sequence[PathPoint]) -> dict[str, Any] | None:
    """Return the path as a GeoJSON LineString (RFC 7946) with ``times``, the time of each of its positions. None for
    fewer than two points, of which there is no line.
    """
    if len(points) < 2:
        return None
    coordinates = [[point.lon, point.lat] for point in points]
    return {"type": "LineString", "coordinates": coordinates, "times": [rfc3339_of(point.at) for point in points]}


def _plane_of(points: Sequence[PathPoint]) -> list[tuple[float, float]]:
    """Return the points in metres east and north of the first one, on a plane that touches the earth there. Over the
    length of a chunk, distances from a line are wrong by less than a hundredth.
    """
    origin = points[0]
    shrink = METRES_PER_DEGREE * cos(radians(origin.lat))
    return [
        (_east_degrees(point.lon - origin.lon) * shrink, (point.lat - origin.lat) * METRES_PER_DEGREE)
        for point in points
    ]


def _kept_indices(places: list[tuple[float, float]], tolerance: float) -> list[int]:
    """Return the indices of the places that a thinned line keeps, except that of the first. ``tolerance`` is in square
    metres.
    """
    kept, spans = {len(places) - 1}, [(0, len(places) - 1)]
    while spans:
        first, last = spans.pop()
        (x, y), (end_x, end_y) = places[first], places[last]
        east, north = end_x - x, end_y - y
        length = east * east + north * north
        farthest, index = tolerance, 0
        for i in range(first + 1, last):
            to_x, to_y = places[i][0] - x, places[i][1] - y
            share = (to_x * east + to_y * north) / length if length else 0.0
            share = 0.0 if share < 0 else 1.0 if share > 1 else share
            away_x, away_y = to_x - share * east, to_y - share * north
            distance = away_x * away_x + away_y * away_y
            if distance > farthest:
                farthest, index = distance, i
        if index:
            kept.add(index)
            spans += [(first, index), (index, last)]
    return sorted(kept)


def _east_degrees(difference: float) -> float:
    """Return a difference of longitudes by the shorter way, also across the antimeridian."""
    return (difference + 180.0) % 360.0 - 180.0
