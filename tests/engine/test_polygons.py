"""Polygons: what a GeoJSON file may contain, and which positions are in an area."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.polygons import MAX_POSITIONS, PolygonError, parse_polygons
from engine.rules.zone_areas import ZoneArea, zone_at
from engine.types import DEFAULT_ZONE, Zone

Points = list[tuple[float, float]]
SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]


def polygon(*rings: Any) -> dict[str, Any]:
    """Return a GeoJSON Polygon."""
    return {"type": "Polygon", "coordinates": list(rings)}


def box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    """Return the ring of a box."""
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "it is no GeoJSON"),
        ({"type": 7}, "it is no GeoJSON"),
        ({"type": "Point", "coordinates": [1, 2]}, "it is Point"),
        ({"type": "GeometryCollection", "geometries": []}, "it is GeometryCollection"),
        ({"type": "FeatureCollection", "features": []}, "no features"),
        ({"type": "FeatureCollection", "features": [polygon(SQUARE)]}, "no Feature"),
        ({"type": "Feature", "geometry": None}, "without a geometry"),
        ({"type": "Feature", "geometry": {"type": "Feature", "geometry": {}}}, "without a geometry"),
        ({"type": "Polygon"}, "no coordinates"),
        ({"type": "MultiPolygon", "coordinates": [[]]}, "without rings"),
        (polygon(3), "no list of positions"),
        (polygon(SQUARE[:3]), "four positions"),
        (polygon(SQUARE[:4]), "the last is the first"),
        (polygon([["0", 0], *SQUARE[1:]]), "no position"),
        (polygon([[True, 0], *SQUARE[1:]]), "no position"),
        (polygon(box(0, 0, 4, 91)), "on no map"),
        (polygon(box(361, 0, 362, 4)), "on no map"),
        (polygon([[0, 0], [4, 4], [0, 0], [0, 0]]), "encloses nothing"),
        (polygon(box(-180, -80, 180, 80)), "encloses nothing"),
        (polygon([[0, 60], [120, 60], [-120, 60], [0, 60]]), "round a pole"),
        (polygon(SQUARE, box(3, 3, 5, 5)), "hole is not inside"),
        (polygon(SQUARE, box(1, 1, 2, 5)), "hole is not inside"),
        (polygon([SQUARE[0]] * MAX_POSITIONS + SQUARE), "simplify"),
    ],
)
def test_a_document_that_is_no_area_is_refused(document: Any, reason: str) -> None:
    """A document that is no area is refused with the reason."""
    with pytest.raises(PolygonError) as refused:
        parse_polygons(document)
    assert reason in str(refused.value)


def test_features_altitudes_and_holes() -> None:
    """Features are joined to one area. An altitude is dropped. A position in a hole is outside."""
    ring = [[*position, 35.0] for position in SQUARE]
    hole = {"type": "Feature", "geometry": polygon(ring, box(1, 1, 2, 2)), "properties": {"name": "north"}}
    other = {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[box(9, 9, 10, 10)]]}}
    area = parse_polygons({"type": "FeatureCollection", "features": [hole, other]})
    assert area.geometry["type"] == "MultiPolygon" and area.geometry["coordinates"][0][0] == SQUARE
    assert area.contains(3, 3) and area.contains(9.5, 9.5)
    assert not area.contains(1.5, 1.5) and not area.contains(5, 5)


@pytest.mark.parametrize(
    "geometry",
    [
        polygon(box(179, -1, -179, 1)),
        polygon(box(179, -1, 181, 1)),
        polygon(box(-181, -1, -179, 1)),
        {"type": "MultiPolygon", "coordinates": [[box(179, -1, 180, 1)], [box(-180, -1, -179, 1)]]},
    ],
)
def test_an_area_over_the_antimeridian(geometry: dict[str, Any]) -> None:
    """An area may cross the antimeridian in each of the ways in which tools write it."""
    area = parse_polygons(geometry)
    assert all(area.contains(0, lon) for lon in (179.5, 180.0, -180.0, -179.5))
    assert not any(area.contains(0, lon) for lon in (178.5, -178.5, 0.0))


def is_inside_exactly(ring: Points, lat: Fraction, lon: Fraction) -> bool | None:
    """Return whether an odd number of edges lies north of the position, computed without rounding. None: it is on an
    edge."""
    count = 0
    for (lon1, lat1), (lon2, lat2) in pairwise(ring):
        if lon1 == lon2:
            if lon == lon1 and min(lat1, lat2) <= lat <= max(lat1, lat2):
                return None
            continue
        crossing = Fraction(lat1) + (lon - Fraction(lon1)) * Fraction(lat2 - lat1) / Fraction(lon2 - lon1)
        if min(lon1, lon2) <= lon <= max(lon1, lon2) and crossing == lat:
            return None
        count += min(lon1, lon2) <= lon < max(lon1, lon2) and crossing > lat
    return count % 2 == 1


@settings(max_examples=150, deadline=None)
@given(
    corners=st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=3, max_size=9),
    middle=st.sampled_from([0, 100, 179, 180, -170]),
    positions=st.lists(st.tuples(st.integers(-170, 170), st.integers(-170, 170)), min_size=1, max_size=20),
)
def test_membership_as_computed_exactly(
    corners: list[tuple[int, int]], middle: int, positions: list[tuple[int, int]]
) -> None:
    """For any ring of corners anywhere on the map, a position is in the area exactly if a second method says so, which
    computes with fractions and without rounding."""
    ring: Points = [*corners, corners[0]]

    def wrapped(lon: float) -> float:
        return (lon + middle + 180) % 360 - 180

    try:
        area = parse_polygons(polygon([[wrapped(lon), lat] for lon, lat in ring]))
    except PolygonError as error:
        assert "encloses nothing" in str(error)
        return
    for eighth_lon, eighth_lat in positions:
        expected = is_inside_exactly(ring, Fraction(eighth_lat, 8), Fraction(eighth_lon, 8))
        if expected is not None:
            assert area.contains(eighth_lat / 8, wrapped(eighth_lon / 8)) == expected


@settings(max_examples=50, deadline=None)
@given(
    border=st.lists(st.floats(-5, 5), min_size=2, max_size=12),
    at=st.tuples(st.floats(-10, 10), st.floats(-10, 10)),
    on_border=st.integers(0, 10),
)
def test_a_border_belongs_to_one_of_two_areas(border: list[float], at: tuple[float, float], on_border: int) -> None:
    """Of two areas that share a border, each position between the outer sides is in exactly one, also on the border."""
    steps = [-10 + 20 * step / (len(border) - 1) for step in range(len(border))]
    line = [[lon, lat] for lon, lat in zip(border, steps, strict=True)]
    west = parse_polygons(polygon([[-20, -10], *line, [-20, 10], [-20, -10]]))
    east = parse_polygons(polygon([[20, 10], *reversed(line), [20, -10], [20, 10]]))
    corner = line[on_border % (len(line) - 1)]
    for lon, lat in (at, corner):
        assert lat == 10 or west.contains(lat, lon) != east.contains(lat, lon)


def test_the_zone_of_a_position() -> None:
    """A position in several areas belongs to the first. Elsewhere it belongs to `main`, or to no zone if `main` has an
    area of its own."""
    north = ZoneArea(Zone("north"), parse_polygons(polygon(box(0, 2, 4, 4))))
    whole = ZoneArea(Zone("whole"), parse_polygons(polygon(SQUARE)))
    main = ZoneArea(DEFAULT_ZONE, parse_polygons(polygon(box(0, 0, 9, 9))))
    assert [zone_at((north, whole), *at) for at in ((3, 1), (1, 1), (8, 8))] == ["north", "whole", "main"]
    assert zone_at((whole, north), 3, 1) == "whole"
    assert zone_at((ZoneArea(DEFAULT_ZONE, timezone="Asia/Tokyo"), whole), 1, 1) == "whole"
    assert [zone_at((main, whole), *at) for at in ((1, 1), (8, 8), (10, 1))] == ["main", "main", None]
    assert zone_at((), 1, 1) == "main"
