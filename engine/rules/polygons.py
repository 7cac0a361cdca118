"""Areas on the map as polygons of GeoJSON (RFC 7946), and whether a position is in one.

An edge is a straight line in longitude and latitude. An edge with more than 180 degrees of longitude between its ends
goes the short way, over the antimeridian. An area over the antimeridian may also be cut into two polygons, as the RFC
recommends. A position on a border belongs to exactly one of two areas that share the points of this border.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

MAX_POSITIONS = 10_000
"""The most positions of one area: clients get all of them, and 10,000 are about 200 KB."""
MAX_BANDS = 512
"""The most bands of latitude into which the edges of a ring are sorted. A search looks at the edges of one band."""

Edge = tuple[float, float, float, float]
"""The lower latitude, the upper latitude, the longitude at the lower one, degrees of longitude per degree of
latitude."""


class PolygonError(ValueError):
    """Raised for a document that is no area. The text names the reason."""


class _Ring:
    """A closed line. If it crosses the antimeridian, its longitudes continue beyond 180 degrees."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        lons, lats = [lon for lon, _ in points], [lat for _, lat in points]
        self.west, self.east, self.south, self.north = min(lons), max(lons), min(lats), max(lats)
        count = min(MAX_BANDS, len(points))
        self._bands_per_degree = count / (self.north - self.south)
        self._bands: list[list[Edge]] = [[] for _ in range(count + 1)]
        for start, end in pairwise(points):
            if start[1] == end[1]:
                continue  # no line of latitude crosses this edge
            # The ends are sorted, so that an edge that two rings share gives the same numbers in both directions.
            (lon, lat), (end_lon, end_lat) = sorted((start, end), key=lambda point: point[1])
            edge = (lat, end_lat, lon, (end_lon - lon) / (end_lat - lat))
            for band in self._bands[self._band_of(lat) : self._band_of(end_lat) + 1]:
                band.append(edge)

    def _band_of(self, lat: float) -> int:
        return int((lat - self.south) * self._bands_per_degree)

    def contains(self, lat: float, lon: float) -> bool:
        """Return whether an odd number of edges lies east of the position."""
        if not (self.south <= lat <= self.north and self.west <= lon <= self.east):
            return False
        inside = False
        for low, high, low_lon, slope in self._bands[self._band_of(lat)]:
            if low <= lat < high and lon < low_lon + (lat - low) * slope:
                inside = not inside
        return inside


class Polygons:
    """An area: polygons with holes. ``geometry`` is the GeoJSON from which it was made, as a Polygon or MultiPolygon
    without altitudes."""

    def __init__(self, geometry: dict[str, Any], parts: list[tuple[_Ring, list[_Ring]]]) -> None:
        self.geometry = geometry
        self._parts = [
            (shell, holes, turn)
            for shell, holes in parts
            for turn in (0, 360, -360)
            if shell.west - turn <= 180 and shell.east - turn >= -180
        ]
        """The polygons, each with the degrees of longitude by which a position is turned before it is compared."""
        self._south = min(shell.south for shell, _ in parts)
        self._north = max(shell.north for shell, _ in parts)

    def contains(self, lat: float, lon: float) -> bool:
        """Return whether the position (degrees, -180 to 180 of longitude) is in the area."""
        if not self._south <= lat <= self._north:
            return False
        lon = -180.0 if lon == 180 else lon
        for shell, holes, turn in self._parts:
            at = lon + turn
            is_near = shell.west <= at <= shell.east
            if is_near and shell.contains(lat, at) and not any(hole.contains(lat, at) for hole in holes):
                return True
        return False


def parse_polygons(document: Any) -> Polygons:
    """Return the area of a GeoJSON document: a Polygon, a MultiPolygon, or features of them. Raises PolygonError."""
    found = [part for geometry in _geometries(document) for part in _polygon_coordinates(geometry)]
    if sum(len(ring) for polygon in found for ring in polygon) > MAX_POSITIONS:
        raise PolygonError(f"it has more than {MAX_POSITIONS} positions: simplify it")
    coordinates = [[[[lon, lat] for lon, lat in ring] for ring in polygon] for polygon in found]
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": coordinates}
    if len(found) == 1:
        geometry = {"type": "Polygon", "coordinates": coordinates[0]}
    return Polygons(geometry, [_make_rings(polygon) for polygon in found])


def _geometries(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the geometries of a document, at least one."""
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or not features:
            raise PolygonError("it has no features")
        for feature in features:
            if not isinstance(feature, dict) or feature.get("type") != "Feature":
                raise PolygonError("one of its features is no Feature")
            yield from _geometries(feature)
    elif kind == "Feature":
        if not isinstance(document.get("geometry"), dict) or document["geometry"].get("type") == "Feature":
            raise PolygonError("it has a feature without a geometry")
        yield from _geometries(document["geometry"])
    elif kind in ("Polygon", "MultiPolygon"):
        yield document
    else:
        shown = kind if isinstance(kind, str) else "no GeoJSON"
        raise PolygonError(f"it is {shown[:40]}, and not a Polygon or MultiPolygon")


def _polygon_coordinates(geometry: dict[str, Any]) -> list[list[list[tuple[float, float]]]]:
    """Return the rings of each polygon of a geometry, as positions (longitude, latitude)."""
    polygons = geometry.get("coordinates")
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    if not isinstance(polygons, list) or not polygons or not all(isinstance(each, list) and each for each in polygons):
        raise PolygonError("it has no coordinates, or a polygon without rings")
    return [[_ring_positions(ring) for ring in rings] for rings in polygons]


def _ring_positions(ring: Any) -> list[tuple[float, float]]:
    if not isinstance(ring, list):
        raise PolygonError("a ring is no list of positions")
    positions = [_position(each) for each in ring]
    if len(positions) < 4 or positions[0] != positions[-1]:
        raise PolygonError("a ring needs at least four positions, of which the last is the first")
    return positions


def _position(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) < 2 or not all(type(part) in (int, float) for part in value[:2]):
        raise PolygonError(f"{str(value)[:40]} is no position: longitude, latitude")
    lon, lat = value[:2]
    if not (abs(lon) <= 360 and abs(lat) <= 90):
        raise PolygonError(f"{lon}, {lat} is on no map: longitude comes first, then latitude, in degrees")
    return float(lon), float(lat)


def _make_rings(polygon: list[list[tuple[float, float]]]) -> tuple[_Ring, list[_Ring]]:
    shell = _Ring(_unwrap_longitudes(polygon[0]))
    return shell, [_Ring(_align_hole(shell, _unwrap_longitudes(ring))) for ring in polygon[1:]]


def _unwrap_longitudes(ring: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the ring with longitudes that continue beyond 180 degrees at the antimeridian, and do not jump to -180."""
    points = ring[:1]
    for lon, lat in ring[1:]:
        behind = points[-1][0] - lon
        points.append((lon + 360 * round(behind / 360) if abs(behind) > 180 else lon, lat))
    if points[0] != points[-1]:
        raise PolygonError("a ring goes round a pole: cut it at the antimeridian")
    if math.isclose(_area(points), 0, abs_tol=1e-12):
        raise PolygonError(
            "a ring encloses nothing. An edge over more than 180 degrees of longitude goes the other way round, over"
            " the antimeridian: put a position between its ends"
        )
    return points


def _area(points: list[tuple[float, float]]) -> float:
    """Return the area of a ring in square degrees (the shoelace formula)."""
    west, south = points[0]
    pairs = pairwise(points)
    return sum((a[0] - west) * (b[1] - south) - (b[0] - west) * (a[1] - south) for a, b in pairs) / 2


def _align_hole(shell: _Ring, hole: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return a hole whose longitudes are changed by 360 degrees if this is needed for it to be inside its polygon."""
    west, east = min(lon for lon, _ in hole), max(lon for lon, _ in hole)
    for turn in (0, 360, -360):
        if shell.west <= west + turn and east + turn <= shell.east:
            if not all(shell.south <= lat <= shell.north for _, lat in hole):
                break
            return [(lon + turn, lat) for lon, lat in hole]
    raise PolygonError("a hole is not inside its polygon")
