"""Learning travel times from journeys, and the backtest that measures it: pure functions."""

from __future__ import annotations

import math
import random

import pytest

from engine.rules.travel_backtest import NotEnough, Ride, backtest, split_rides
from engine.rules.travel_learning import (
    JOURNEY_QUANTILES,
    MIN_JOURNEYS,
    Journey,
    hour_class,
    learn_times,
    learn_zone_times,
)

DAY_MS = 86_400_000


def drive(draw: random.Random, km: float, hour: int = 0, origin: str = "", destination: str = "") -> Journey:
    """Return a journey in a city where 1 km takes 240 s, longer journeys are faster, hour 8 is half as fast and
    journeys to `hill` take twice as long. One in three journeys deviates by a third or more.
    """
    likely = 240 * math.pow(km, 0.6) * (2.0 if hour == 8 else 1.0) * (2.0 if destination == "hill" else 1.0)
    return Journey(km, likely * math.exp(draw.gauss(0, 0.3)), hour, origin, destination)


def city(seed: int, count: int) -> list[Journey]:
    """Return journeys of all lengths, hours and areas."""
    draw = random.Random(seed)
    areas = ("hill", "port", "park")
    return [
        drive(draw, draw.uniform(0.5, 12), draw.choice((3, 8, 15, 20)), draw.choice(areas), draw.choice(areas))
        for _ in range(count)
    ]


def test_too_few_journeys_teach_nothing() -> None:
    """With one journey less than `MIN_JOURNEYS` nothing is learnt, even if the journeys have many points."""
    journeys = city(1, MIN_JOURNEYS)
    assert learn_zone_times([(journey, [journey] * 9) for journey in journeys[1:]]).remaining is None
    assert learn_times(journeys[1:], JOURNEY_QUANTILES) is None
    assert learn_times(journeys, JOURNEY_QUANTILES) is not None


def test_the_times_of_a_city_are_found_again() -> None:
    """The exponent, the slow hour, the slow area and the share of errors are found from 2,000 journeys, within a tenth.
    Four of five other journeys of the city take at most `high`.
    """
    learnt = learn_times(city(1, 2000), JOURNEY_QUANTILES)
    assert learnt is not None and learnt.journeys == 2000
    found = learnt.by_area
    assert found.exponent == pytest.approx(0.6, abs=0.05)
    assert found.pace(8, "park", "port") / found.pace(3, "park", "port") == pytest.approx(2, rel=0.1)
    assert found.pace(3, "park", "hill") / found.pace(3, "park", "port") == pytest.approx(2, rel=0.1)
    assert found.travel_time_s(Journey(5, 0, 3, "port", "park")) == pytest.approx(240 * 5**0.6, rel=0.1)
    assert found.high == pytest.approx(math.exp(0.3 * 0.8416), rel=0.05) and found.low < 1
    for fitted in (learnt.plain, found):
        kept = [each.seconds <= fitted.travel_time_s(each) * fitted.high for each in city(2, 2000)]
        assert sum(kept) / len(kept) == pytest.approx(0.8, abs=0.04)
    assert learnt.plain.high > found.high, "who does not know the areas must promise a longer time"


def test_few_journeys_change_a_factor_little() -> None:
    """The factor of an area with two slow journeys is near 1, that of an area with 200 is not. An unknown area has
    none.
    """
    draw = random.Random(5)
    journeys = city(3, 600) + [drive(draw, 3, 3, "port", "hill")._replace(destination="new") for _ in range(2)]
    learnt = learn_times(journeys, JOURNEY_QUANTILES)
    assert learnt is not None
    found = learnt.by_area.destinations
    assert 0.9 < found["new"] < 1.15 and found["hill"] > 1.3
    assert learnt.by_area.pace(3, "", "unknown") == learnt.by_area.pace(3)


def test_the_backtest_never_learns_from_what_it_predicts() -> None:
    """If the times of the held-out journeys change, the predictions stay the same; only the errors change."""
    journeys = city(4, 500)
    rides = [Ride(day * DAY_MS // 10, journey) for day, journey in enumerate(journeys)]
    train, test, held_out = split_rides(rides)
    assert held_out == "the last week" and max(ride.at for ride in train) < min(ride.at for ride in test)
    doubled = [*train, *(Ride(ride.at, ride.journey._replace(seconds=ride.journey.seconds * 2)) for ride in test)]
    before, after = backtest(rides)["models"]["learned"], backtest(doubled)["models"]["learned"]
    mean_s = sum(ride.journey.seconds for ride in test) / len(test)
    assert after["bias_s"] - before["bias_s"] == pytest.approx(-mean_s, abs=0.2)
    assert before["kept"] > 0.7 > after["kept"]


def test_a_short_record_is_tested_on_its_last_fifth() -> None:
    """A record of one day holds out its last fifth. Too few journeys are refused with their numbers."""
    rides = [Ride(minute * 60_000, journey) for minute, journey in enumerate(city(6, 300))]
    found = backtest(rides)
    assert (found["held_out"], found["learned_from"], found["predicted"]) == ("the last fifth", 240, 60)
    assert found["models"]["learned"]["mae_s"] < found["models"]["one_speed"]["mae_s"]
    for few in (rides[:100], []):
        with pytest.raises(NotEnough, match=r"\d+ journeys to learn from"):
            backtest(few)


def test_an_hour_of_the_weekend_is_another_class() -> None:
    """Saturday and Sunday have classes of their own, the five working days share theirs."""
    assert [hour_class(9, weekday) for weekday in range(7)] == [9] * 5 + [33] * 2
