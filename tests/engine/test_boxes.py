"""Boxes of a map (west, south, east, north), and the search for what is inside a box."""

from __future__ import annotations

import math
import random

import pytest

from engine.domain import zone_map
from engine.rules import cells
from engine.rules.boxes import MAX_LATITUDE, MapBox, box_problem, merge_boxes, parse_box
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE

CITY = MapBox(13.0, 52.3, 13.8, 52.7)
PACIFIC = MapBox(178.0, -20.0, -179.0, -16.0)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("13,52,13,53", "empty"),
        ("13,52,14,52", "empty"),
        ("13,53,14,52", "empty"),
        ("180,-20,-180,-16", "empty"),
        ("13,-85.06,14,53", "South and north"),
        ("13,52,14,85.06", "South and north"),
        ("-181,52,14,53", "West and east"),
        ("13,52,180.5,53", "West and east"),
    ],
)
def test_an_invalid_box_has_a_problem(text: str, part: str) -> None:
    """An empty box, and a box with a side outside the map, are refused with the reason."""
    assert part in (box_problem(parse_box(text)) or "")


def test_a_box_with_an_infinite_side_has_a_problem() -> None:
    """A box with an infinite side or a side that is not a number (NaN) is refused."""
    assert box_problem(MapBox(math.nan, 0, 1, 1)) and box_problem(MapBox(0, 0, math.inf, 1))


def test_a_box_may_cross_the_antimeridian() -> None:
    """A box whose west is above its east contains both sides of the antimeridian and nothing between them."""
    assert box_problem(PACIFIC) is None and PACIFIC.width == 3
    assert PACIFIC.contains(-18, 179.5) and PACIFIC.contains(-18, -179.5)
    assert not PACIFIC.contains(-18, 0) and not PACIFIC.contains(-18, 177.9) and not PACIFIC.contains(-21, 179)
    assert PACIFIC.parts() == (MapBox(178.0, -20.0, 180.0, -16.0), MapBox(-180.0, -20.0, -179.0, -16.0))


def test_a_margin_stays_on_the_map() -> None:
    """A box that is widened by a margin ends at the edge of the map in the north and south, and continues across the
    antimeridian in the west and east.
    """
    assert MapBox(-179.9, 85.0, 179.9, MAX_LATITUDE).widen(0.2) == MapBox(-180.0, 84.8, 180.0, MAX_LATITUDE)
    assert MapBox(179.0, 0.0, 179.9, 1.0).widen(0.5) == MapBox(178.5, -0.5, -179.6, 1.5)


def test_boxes_that_overlap_are_searched_together() -> None:
    """Boxes that overlap much are joined, a box inside another is dropped, and separate boxes stay. The joined boxes
    contain everything that the original boxes contain.
    """
    inside, shifted, far = (
        MapBox(13.1, 52.4, 13.2, 52.5),
        MapBox(13.05, 52.32, 13.85, 52.72),
        MapBox(2.0, 48.0, 2.5, 49.0),
    )
    assert set(merge_boxes([CITY, inside, shifted, far, CITY])) == {far, MapBox(13.0, 52.3, 13.85, 52.72)}
    assert len(merge_boxes([PACIFIC])) == 2


def test_cells_suit_the_box() -> None:
    """A box of any size has a few hundred cells, down to the finest resolution."""
    for box in (CITY, PACIFIC, MapBox(13.40, 52.50, 13.41, 52.51), MapBox(-180.0, -80.0, 180.0, 80.0)):
        resolution = cells.resolution_for(box)
        size = cells._average_area_km2(resolution)
        assert resolution == cells.FINEST_RESOLUTION or cells.MAX_CELLS / 10 < box.area_km2 / size <= cells.MAX_CELLS


async def test_a_search_finds_everything_in_the_box(engine: Engine) -> None:
    """A search in the index finds each entry that is in the box, at every place of the earth and for every size."""
    draw, key, redis = random.Random(11), keys.map_places(DEFAULT_ZONE), engine.store.redis
    for _ in range(60):
        west = draw.choice([draw.uniform(-180, 180), draw.uniform(176, 180), 13.0])
        south = draw.choice([draw.uniform(-85, 84), draw.uniform(-1, 1), 84.0, -85.0])
        width, height = 10 ** draw.uniform(-3, 0.9), 10 ** draw.uniform(-3, 0.9)
        north, east = min(MAX_LATITUDE, south + height), west + width
        box = MapBox(west, south, east if east <= 180 else east - 360, north)
        assert box_problem(box) is None
        await redis.delete(key)
        for number in range(20):
            lon, lat = west + draw.uniform(-0.3, 1.3) * width, south + draw.uniform(-0.3, 1.3) * (north - south)
            place = ((lon + 180) % 360 - 180, max(-MAX_LATITUDE, min(MAX_LATITUDE, lat)))
            await redis.geoadd(key, (*place, f"j{number}"))
        names = await redis.zrange(key, 0, -1)
        stored = zip(names, await redis.geopos(key, *names), strict=True)
        expected = {name.decode() for name, (lon, lat) in stored if box.contains(lat, lon)}
        found = await zone_map.find_ids(engine, DEFAULT_ZONE, "jobs", [box])
        assert expected <= found, box
    await redis.delete(key)


async def test_a_crowded_search_is_divided(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that finds too many ids is repeated for the quarters of its box, and nobody is lost, not even where all
    are at one place.
    """
    monkeypatch.setattr(zone_map, "IDS_PER_SEARCH", 5)
    draw, key = random.Random(3), keys.map_places(DEFAULT_ZONE)
    for number in range(60):
        spread = 0.0 if number < 20 else 0.2
        lon, lat = 13.4 + draw.uniform(-spread, spread), 52.5 + draw.uniform(-spread, spread)
        await engine.store.redis.geoadd(key, (lon, lat, f"j{number}"))
    assert await zone_map.find_ids(engine, DEFAULT_ZONE, "jobs", [CITY]) == {f"j{number}" for number in range(60)}
    await engine.store.redis.delete(key)
