"""The first radius of a search, from how many the index counts around the job: near enough wherever the job is."""

from __future__ import annotations

import math
import random

import pytest
from redis import Redis

from engine.store import scripts

SUPPLY, DEMAND = "{main}:supply:s", "{main}:demand:s"
WANTED, WIDEST_M = 30, 5_000
METRES_PER_DEGREE = 111_195
PLACES = [(52.5, 13.4), (0.0, 0.0), (-33.9, 151.2), (64.1, -21.9)]


def first_radius(client: Redis, lat: float) -> float:
    """What lib/density gives for the job `j` in demand, in metres."""
    job = "{id = 'j', service = 's', lat = ARGV[1]}"
    call = f"return tostring(Density.radius_for({{tag = '{{main}}:'}}, {job}, KEYS[1], {WANTED}, {WIDEST_M}))"
    library = "\n".join((scripts.scripts_folder() / "lib" / f"{name}.lua").read_text() for name in ("geo", "density"))
    source = f"{library}\n{call}"
    return float(client.eval(source, 1, SUPPLY, str(lat)))  # type: ignore[arg-type]


def crowd(client: Redis, lat: float, lon: float, *, count: int, side_m: float) -> None:
    """So many, evenly dense in a square around a place."""
    draw, half = random.Random(5), side_m / 2 / METRES_PER_DEGREE
    spots: list[float | str] = []
    for number in range(count):
        north, east = draw.uniform(-half, half), draw.uniform(-half, half) / math.cos(math.radians(lat))
        spots += [lon + east, lat + north, f"t{number}"]
    client.geoadd(SUPPLY, spots)


def test_where_there_is_nothing_to_count_it_is_the_widest(empty_redis: str) -> None:
    """Nobody there, too few to tell, a job that is not in demand: the search begins with the wave's own radius."""
    lat, lon = PLACES[0]
    with Redis.from_url(empty_redis) as client:
        client.geoadd(DEMAND, (lon, lat, "j"))
        assert first_radius(client, lat) == WIDEST_M
        crowd(client, lat, lon, count=WANTED // 3, side_m=4_000)
        assert first_radius(client, lat) == WIDEST_M
        crowd(client, lat, lon, count=4_000, side_m=8_000)
        assert first_radius(client, lat) < WIDEST_M
        client.delete(DEMAND)
        assert first_radius(client, lat) == WIDEST_M


@pytest.mark.parametrize("side_m", [8_000, 400])
@pytest.mark.parametrize("place", PLACES)
def test_as_many_as_are_wanted_are_within_it(empty_redis: str, place: tuple[float, float], side_m: float) -> None:
    """In a crowd, thin or thick, on any latitude and side of the equator, it holds the number to a factor of two."""
    lat, lon = place
    with Redis.from_url(empty_redis) as client:
        client.geoadd(DEMAND, (lon, lat, "j"))
        crowd(client, lat, lon, count=4_000, side_m=side_m)
        found = client.geosearch(SUPPLY, latitude=lat, longitude=lon, radius=first_radius(client, lat), unit="m")
    assert WANTED / 2 <= len(found) <= WANTED * 2  # type: ignore[arg-type]
