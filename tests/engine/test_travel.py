"""Travel times and the estimated arrival of a technician: pure functions of distance and time."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import ms_of
from engine.rules.distances import distance_m
from engine.rules.travel import (
    MIN_ETA_S,
    TravelModel,
    area_of,
    estimate_arrival,
    remaining_model,
    travel_model,
    use_times,
)
from engine.rules.travel_learning import FittedTimes, LearntTimes, ZoneTimes
from engine.store import scripts
from engine.types import DEFAULT_ZONE, Zone

NOON, NIGHT = ms_of("2026-11-30T12:30:00.000Z"), ms_of("2026-11-30T05:30:00.000Z")
SATURDAY_NOON, BERLIN = ms_of("2026-11-28T12:30:00.000Z"), (52.52, 13.4)
distances = st.floats(0, 100_000)
ages_ms = st.integers(0, 30_000)


@pytest.fixture
def learnt() -> Iterator[ZoneTimes]:
    """Give the zone learnt travel times: in the hour of `NOON` 1 km takes twice as long, and journeys to `BERLIN` take
    half as long.
    """
    hours = tuple(2.0 if hour == 12 else 1.0 for hour in range(48))
    plain = FittedTimes(seconds_per_km=200.0, exponent=0.5, hours=hours, low=0.7, high=1.4)
    to_berlin = msgspec.structs.replace(plain, destinations={area_of(*BERLIN): 0.5}, high=1.3)
    found = LearntTimes(plain, to_berlin, 300)
    times = ZoneTimes(found, LearntTimes(msgspec.structs.replace(plain, seconds_per_km=100.0), to_berlin, 900))
    use_times({DEFAULT_ZONE: times})
    yield times
    use_times({})


def test_a_zone_that_has_learnt_nothing_has_the_times_of_the_cold_start() -> None:
    """Before a zone has learnt, 1 km takes 150 s and 16 km takes 8 times as long. In four of five journeys the time is
    at most 1.5 times as long. This is the same with and without places, at every hour, and for the rest of a journey.
    """
    for model in (
        travel_model(DEFAULT_ZONE, NOON, "UTC"),
        travel_model(DEFAULT_ZONE, NIGHT, "Australia/Sydney", BERLIN, BERLIN),
        remaining_model(DEFAULT_ZONE, NIGHT, "UTC", BERLIN),
    ):
        assert (model.travel_time_s(1000), model.travel_time_s(16_000)) == pytest.approx((150, 1200))
        assert (model.high, model.source) == (1.5, "learned")


def test_learnt_times_depend_on_the_hour_in_the_zone_and_on_the_areas(learnt: ZoneTimes) -> None:
    """The model of a zone depends on the hour in the zone's time zone, and on the areas if the places are known. For
    the rest of a journey, the model that was learnt from the rests of journeys is used. Another zone has learnt
    nothing.
    """
    assert travel_model(DEFAULT_ZONE, NOON, "UTC").travel_time_s(4000) == pytest.approx(2 * 200 * 2)
    assert travel_model(DEFAULT_ZONE, NOON, "Australia/Sydney").travel_time_s(4000) == pytest.approx(200 * 2)
    assert travel_model(DEFAULT_ZONE, SATURDAY_NOON, "UTC").travel_time_s(4000) == pytest.approx(200 * 2)
    there = travel_model(DEFAULT_ZONE, NIGHT, "UTC", (48.1, 11.6), BERLIN)
    assert (there.travel_time_s(4000), there.high) == (pytest.approx(200 * 2 / 2), 1.3)
    assert travel_model(DEFAULT_ZONE, NIGHT, "UTC", BERLIN, (48.1, 11.6)).travel_time_s(4000) == pytest.approx(400)
    assert remaining_model(DEFAULT_ZONE, NIGHT, "UTC").travel_time_s(4000) == pytest.approx(200)
    assert remaining_model(DEFAULT_ZONE, NIGHT, "UTC", BERLIN).travel_time_s(4000) == pytest.approx(200)
    assert travel_model(Zone("north"), NOON, "UTC").seconds_per_km == 150


@given(distances, distances, ages_ms, st.floats(0.3, 1.5))
def test_an_arrival_is_never_in_the_past(near_m: float, far_m: float, age_ms: int, exponent: float) -> None:
    """Whatever the distance and the age of the fix, a technician who is not there arrives at least `MIN_ETA_S` from
    now. The likely time is between the two bounds, and a longer distance never takes less time.
    """
    model, now = TravelModel(253.0, exponent), NOON + age_ms
    near, far = (estimate_arrival(model, each, NOON, now, arrived=False) for each in sorted((near_m, far_m)))
    for estimate in (near, far):
        assert now + MIN_ETA_S * 1000 <= estimate.low <= estimate.arrives_at <= estimate.high
        assert abs(estimate.arrives_at - now - estimate.eta_s * 1000) <= 500
    assert near.arrives_at <= far.arrives_at


def test_who_has_arrived_needs_no_more_time() -> None:
    """The estimated arrival of a technician at the place is the time of their fix, and the remaining time is 0."""
    estimate = estimate_arrival(travel_model(DEFAULT_ZONE, NOON, "UTC"), 40.0, NOON, NOON + 9000, arrived=True)
    assert (estimate.eta_s, estimate.arrives_at, estimate.low, estimate.high) == (0, NOON, NOON, NOON)


@pytest.mark.parametrize(
    "ends", [(52.5237, 13.4059, 52.5291, 13.4012), (0.0, 179.9, 0.1, -179.9), (90.0, 0.0, -90.0, 0.0)]
)
def test_python_and_lua_compute_the_same_distance(ends: tuple[float, float, float, float]) -> None:
    """`distance_m` gives the distance of `lib/geo`, also across the antimeridian and between the poles."""
    source = (scripts.scripts_folder() / "lib" / "geo.lua").read_text()
    source += "\nreturn tostring(Geo.distance_m(ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])))"
    in_lua = fakeredis.FakeRedis(version=(7, 2)).eval(source, 0, *ends)
    assert distance_m(*ends) == pytest.approx(float(in_lua), rel=1e-9)
