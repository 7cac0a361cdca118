"""Tests of the forecast: hours of the week, the band, the baselines, and that no forecast uses later counts."""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from engine.rules.count_bands import quantile
from engine.rules.demand_backtest import SERVED, Backtest, HourCounts
from engine.rules.demand_forecast import HORIZONS, LAST_WEEK, PROFILE, DemandForecast
from engine.rules.demand_state import area_states, restore, zone_state
from engine.rules.hour_slots import WEEK_HOURS, HourSlots
from tests.support.artificial_city import make_city

UTC_SLOTS = HourSlots("UTC")
CITY = make_city(6, {"busy": 9.0, "calm": 3.0, "quiet": 0.3})


def learn(hours: list[HourCounts], forecast: DemandForecast | None = None) -> DemandForecast:
    """Return a forecast that has learnt these hours."""
    forecast = forecast or DemandForecast(UTC_SLOTS)
    for hour, counts in hours:
        forecast.close(hour, counts, sum(counts.values()))
    return forecast


def first_hour_of(day: str, timezone: str) -> int:
    """Return the hour in which a day begins in a time zone."""
    return int(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(timezone)).timestamp()) // 3600


def test_an_unknown_time_zone_is_refused() -> None:
    """A time zone that does not exist is a ValueError that names it."""
    with pytest.raises(ValueError, match="'Mars/Base' is not a time zone"):
        HourSlots("Mars/Base")


@pytest.mark.parametrize(
    ("day", "after", "hours"), [("2026-03-29", "2026-03-30", 23), ("2026-10-25", "2026-10-26", 25)]
)
def test_a_day_on_which_the_clock_changes_has_23_or_25_hours(day: str, after: str, hours: int) -> None:
    """The day has 23 or 25 hours, one slot is missing or occurs twice, and the next day begins with its own slot."""
    slots, first, last = (
        HourSlots("Europe/Berlin"),
        first_hour_of(day, "Europe/Berlin"),
        first_hour_of(after, "Europe/Berlin"),
    )
    of_day = [slots.slot_of(hour) for hour in range(first, last)]
    assert len(of_day) == hours
    assert sorted(set(of_day)) == [slot for slot in range(144, 168) if hours == 25 or slot != 146]
    assert slots.slot_of(last) == 0


def test_a_change_of_the_clock_shifts_no_area() -> None:
    """Requests that come at the same local hour each day are expected at that hour after the clock has changed."""
    slots = HourSlots("Europe/Berlin")
    first = first_hour_of("2026-02-23", "Europe/Berlin")
    change = first_hour_of("2026-03-30", "Europe/Berlin")
    hours = [HourCounts(hour, {"a": 20} if slots.slot_of(hour) % 24 == 8 else {}) for hour in range(first, change)]
    forecast = DemandForecast(slots, range(1, 25))
    for hour, counts in hours:
        forecast.close(hour, counts, sum(counts.values()))
    expected = [forecast.expected(ahead, PROFILE)["a"] for ahead in range(1, 25)]
    assert max(range(24), key=expected.__getitem__) == 8


@pytest.mark.parametrize(("mean", "dispersion"), [(0.3, 0.0), (4.0, 0.0), (4.0, 0.5), (30.0, 0.2), (900.0, 0.1)])
def test_a_quantile_holds_its_share_of_the_counts(mean: float, dispersion: float) -> None:
    """The counts up to a quantile have at least its probability, and those below it have less."""
    found = {p: quantile(mean, dispersion, p) for p in (0.1, 0.5, 0.9)}
    spread = math.sqrt(mean + dispersion * mean**2)
    assert found[0.1] <= found[0.5] <= found[0.9]
    assert found[0.1] == pytest.approx(max(0.0, mean - 1.28 * spread), abs=0.35 * spread + 0.5)
    assert found[0.9] == pytest.approx(mean + 1.28 * spread, abs=0.35 * spread + 0.5)


def test_the_future_changes_no_forecast_of_the_past() -> None:
    """Forecasts are exactly the same for any counts after the hour in which they are made."""
    cut = 5 * WEEK_HOURS
    other = [HourCounts(hour, {"busy": 500, "new": 7}) for hour, _ in CITY[cut:]]
    said = []
    for future in (CITY[cut:], other):
        forecast, before = DemandForecast(UTC_SLOTS), []
        for hour, counts in CITY[:cut] + future:
            if hour <= CITY[cut].hour:
                before.append(forecast.ahead())
            forecast.close(hour, counts, sum(counts.values()))
        said.append(before)
    assert said[0] == said[1]


def test_a_restored_forecast_goes_on_bit_by_bit() -> None:
    """A forecast that is stored as JSON and restored gives the same numbers as one that never stopped."""
    cut = 5 * WEEK_HOURS + 31
    whole, half = learn(CITY), learn(CITY[:cut])
    zone = msgspec.json.decode(msgspec.json.encode(zone_state(half, CITY[0].hour)), type=type(zone_state(half, 0)))
    areas = {
        area: msgspec.convert(msgspec.json.decode(msgspec.json.encode(state)), type(state))
        for area, state in area_states(half)
    }
    restored = DemandForecast(UTC_SLOTS)
    restore(restored, zone, dict(reversed(areas.items())))
    for hour, counts in CITY[max(0, cut - 4 * WEEK_HOURS) : cut]:
        restored.history.close(hour, counts, sum(counts.values()))
    learn(CITY[cut:], restored)
    assert zone_state(restored, 0) == zone_state(whole, 0)
    assert dict(area_states(restored)) == dict(area_states(whole))
    assert restored.ahead() == whole.ahead()


def test_the_forecast_is_better_than_last_week_and_its_band_holds() -> None:
    """For a city with busy hours, the errors of the forecast are a quarter smaller than those of "last week", and 75 to
    92 % of the counts are in its band.
    """
    test = Backtest(CITY, UTC_SLOTS)
    test.run()
    served, naive = (test.accuracy(name, 1, ["busy", "calm"]) for name in (SERVED, LAST_WEEK))
    assert served.mae <= 0.75 * naive.mae
    assert served.in_band is not None and 0.75 <= served.in_band <= 0.92
    assert served.pinball < naive.pinball


def test_a_baseline_that_is_better_is_served() -> None:
    """If every week repeats the last one exactly, the baseline "last week" is served at all horizons."""
    week = make_city(1, {"a": 4.0, "b": 1.0})
    repeated = [HourCounts(week[0].hour + n, week[n % WEEK_HOURS].counts) for n in range(4 * WEEK_HOURS)]
    forecast = learn(repeated)
    assert {forecast.best(horizon) for horizon in HORIZONS} == {LAST_WEEK}
    assert forecast.ahead()[3]["a"].mean == week[2].counts.get("a", 0)


def test_a_new_city_is_served_the_profile_before_anything_is_compared() -> None:
    """In the first week of a city, the default forecast is served, which uses the same hours of earlier days."""
    forecast = learn(CITY[: 3 * 24])
    assert forecast.best(1) == PROFILE
    assert forecast.ahead()[24]["busy"].mean > 0
