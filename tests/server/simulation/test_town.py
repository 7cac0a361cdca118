"""The synthetic town: small, the same at each start, and connected; drives along its streets."""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec
import pytest

from server.schemas.towns import Town
from server.simulation.drive import distance_m
from server.simulation.town_builder import build_town

CENTRE = (52.52, 13.405)
MAX_JSON_BYTES = 200_000
PART_KINDS = {"block", "district", "park", "river", "street", "ring_road", "bridge"}


@pytest.mark.parametrize("centre", [CENTRE, (-33.87, 151.2)])
def test_a_town_is_small_and_the_same_each_time(centre: tuple[float, float]) -> None:
    """The GeoJSON of a town has all kinds of parts, is below 200 KB, and depends only on the centre and the seed."""
    town = build_town(centre, 1)
    encoded = msgspec.json.encode(town.geojson)
    assert len(encoded) < MAX_JSON_BYTES
    assert {feature.properties.kind for feature in msgspec.json.decode(encoded, type=Town).features} == PART_KINDS
    assert build_town(centre, 1).geojson == town.geojson != build_town(centre, 2).geojson
    assert max(distance_m(centre, place) for place in town.places.values()) < 5_000


def test_every_crossing_can_be_reached() -> None:
    """In each of several towns a way leads from each crossing to each other, over the bridges."""
    for seed in range(5):
        roads = build_town(CENTRE, seed).roads
        seen = {next(iter(roads))}
        ahead = list(seen)
        while ahead:
            ahead += (ends := roads[ahead.pop()].keys() - seen)
            seen |= ends
        assert seen == roads.keys()


def test_a_drive_follows_the_streets_at_the_speed_of_a_car() -> None:
    """A drive goes from crossing to crossing over roads of the town, at 25 to 45 km/h, and ends at the place."""
    town, rng = build_town(CENTRE, 1), random.Random(7)
    for pace in (0.85, 1.0):
        start, (place, _) = town.random_crossing(rng), town.random_address(rng)
        drive = town.drive(town.places[start], start, place, pace, began_s=100.0)
        crossings = [point.crossing for point in drive.way if point.crossing]
        assert all(end in town.roads[begin] for begin, end in pairwise(crossings))
        seconds = range(100, int(drive.ends_s) + 2)
        motions = [drive.motion_at(second) for second in seconds]
        assert (motions[0].lat, motions[0].lon) == town.places[start]
        assert (motions[-1].lat, motions[-1].lon, motions[-1].speed) == (*place, 0.0)
        assert all(25 <= 3.6 * motion.speed <= 45.1 and 0 <= motion.heading < 360 for motion in motions[1:-2])
        steps = [distance_m(a[:2], b[:2]) for a, b in pairwise(motions)]
        assert max(steps) < 13
        assert drive.next_crossing(100.5) in crossings[:2] and drive.next_crossing(1e9) == crossings[-1]
