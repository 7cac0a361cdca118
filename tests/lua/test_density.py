"""Tests of the first radius of a search, which `lib/density` estimates from the number of technicians
around the job.
"""

from __future__ import annotations

import math
import random

import pytest
from redis import Redis

from engine.store import scripts

SUPPLY_KEY, DEMAND_KEY = "{main}:supply:s", "{main}:demand:s"
WANTED_TECHNICIANS, WIDEST_RADIUS_M = 30, 5_000
METRES_PER_DEGREE = 111_195
POSITIONS = [(52.5, 13.4), (0.0, 0.0), (-33.9, 151.2), (64.1, -21.9)]


def first_radius_m(client: Redis, lat: float) -> float:
    """Return the radius in metres that `Density.radius_for` gives for the job `j` at this latitude."""
    job = "{id = 'j', service = 's', lat = ARGV[1]}"
    limits = f"{WANTED_TECHNICIANS}, {WIDEST_RADIUS_M}"
    call = f"return tostring(Density.radius_for({{tag = '{{main}}:'}}, {job}, KEYS[1], {limits}))"
    library = "\n".join((scripts.scripts_folder() / "lib" / f"{name}.lua").read_text() for name in ("geo", "density"))
    source = f"{library}\n{call}"
    return float(client.eval(source, 1, SUPPLY_KEY, str(lat)))  # type: ignore[arg-type]


def add_crowd(client: Redis, lat: float, lon: float, *, count: int, side_m: float) -> None:
    """Add `count` technicians to the supply index, spread evenly over a square of `side_m` metres around
    the position.
    """
    draw, half = random.Random(5), side_m / 2 / METRES_PER_DEGREE
    spots: list[float | str] = []
    for number in range(count):
        north, east = draw.uniform(-half, half), draw.uniform(-half, half) / math.cos(math.radians(lat))
        spots += [lon + east, lat + north, f"t{number}"]
    client.geoadd(SUPPLY_KEY, spots)


def test_without_an_estimate_the_first_radius_is_the_widest(empty_redis: str) -> None:
    """With no technicians, with too few for an estimate, or for a job that is not in the demand index, the first radius
    is the wave's own radius.
    """
    lat, lon = POSITIONS[0]
    with Redis.from_url(empty_redis) as client:
        client.geoadd(DEMAND_KEY, (lon, lat, "j"))
        assert first_radius_m(client, lat) == WIDEST_RADIUS_M
        add_crowd(client, lat, lon, count=WANTED_TECHNICIANS // 3, side_m=4_000)
        assert first_radius_m(client, lat) == WIDEST_RADIUS_M
        add_crowd(client, lat, lon, count=4_000, side_m=8_000)
        assert first_radius_m(client, lat) < WIDEST_RADIUS_M
        client.delete(DEMAND_KEY)
        assert first_radius_m(client, lat) == WIDEST_RADIUS_M


@pytest.mark.parametrize("side_m", [8_000, 400])
@pytest.mark.parametrize("place", POSITIONS)
def test_the_first_radius_contains_about_the_wanted_number(
    empty_redis: str, place: tuple[float, float], side_m: float
) -> None:
    """In a dense and in a sparse crowd, at any latitude, the first radius contains between half and twice the wanted
    number of technicians.
    """
    lat, lon = place
    with Redis.from_url(empty_redis) as client:
        client.geoadd(DEMAND_KEY, (lon, lat, "j"))
        add_crowd(client, lat, lon, count=4_000, side_m=side_m)
        nearby = client.geosearch(SUPPLY_KEY, latitude=lat, longitude=lon, radius=first_radius_m(client, lat), unit="m")
    assert WANTED_TECHNICIANS / 2 <= len(nearby) <= WANTED_TECHNICIANS * 2  # type: ignore[arg-type]


def test_the_score_of_a_place_is_that_of_the_index(empty_redis: str) -> None:
    """The score that a preview computes for a place equals the score with which Redis would store a job there."""
    draw = random.Random(7)
    places = [*POSITIONS, *((draw.uniform(-85, 85), draw.uniform(-180, 180)) for _ in range(200))]
    library = "\n".join((scripts.scripts_folder() / "lib" / f"{name}.lua").read_text() for name in ("geo", "density"))
    source = f"{library}\nreturn string.format('%.0f', Density.score_of(tonumber(ARGV[1]), tonumber(ARGV[2])))"
    with Redis.from_url(empty_redis) as client:
        for lat, lon in places:
            client.geoadd(DEMAND_KEY, (lon, lat, "j"))
            found = client.eval(source, 0, repr(lat), repr(lon))
            assert int(found) == client.zscore(DEMAND_KEY, "j")  # type: ignore[arg-type]
