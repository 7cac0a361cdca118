"""Travel times and the estimated arrival of a technician: pure functions of distance and time."""

from __future__ import annotations

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import ms_of
from engine.rules.distances import distance_m
from engine.rules.travel import MIN_ETA_S, SPEED_KM_H, TravelModel, estimate_arrival, travel_model
from engine.store import scripts
from engine.types import DEFAULT_ZONE

NOON, NIGHT = ms_of("2026-11-30T12:30:00.000Z"), ms_of("2026-11-30T05:30:00.000Z")
distances = st.floats(0, 100_000)
ages_ms = st.integers(0, 30_000)


def test_a_travel_time_is_the_longer_way_at_the_usual_speed_of_the_hour() -> None:
    """The travel time of 5 km is that of 1.3 × 5 km, because roads are longer than the straight line, at the zone's
    usual speed at that hour: 18.5 km/h at noon, 38 km/h after five.
    """
    assert travel_model(DEFAULT_ZONE, NOON, "UTC").travel_time_s(5000) == pytest.approx(1.3 * 5 / 18.5 * 3600)
    assert travel_model(DEFAULT_ZONE, NIGHT, "UTC").travel_time_s(5000) == pytest.approx(1.3 * 5 / 38 * 3600)
    in_sydney = travel_model(DEFAULT_ZONE, NOON, "Australia/Sydney")  # 23:30 there
    assert in_sydney.travel_time_s(5000) == pytest.approx(1.3 * 5 / 24 * 3600)
    assert len(SPEED_KM_H) == 24 and min(SPEED_KM_H) > 0


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
