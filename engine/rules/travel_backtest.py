"""Measure learnt travel times on recorded journeys: learn from the earlier ones, predict the later ones."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from engine.rules.travel import COLD_START, TravelModel, model_of
from engine.rules.travel_learning import JOURNEY_QUANTILES, FittedTimes, Journey, learn_times, learn_zone_times

WEEK_MS = 7 * 86_400_000
MIN_TRAINED_SHARE = 0.5
"""The last week is held out if at least this share of the journeys is before it."""
HELD_OUT_SHARE = 0.2
CLOSE_S = 120.0
TIMES_LEFT_S = ((0, 300, "under_5_min"), (300, 600, "5_to_10_min"), (600, 1 << 30, "over_10_min"))
"""The classes of the time that was left when an arrival was predicted, in seconds."""


class Ride(NamedTuple):
    """A recorded journey. ``at`` is when it began (ms since the Unix epoch). ``driven_km`` is its length by road; None
    if unknown. ``points`` has the rest of the journey from each point on the way.
    """

    at: int
    journey: Journey
    driven_km: float | None = None
    points: tuple[Journey, ...] = ()


class Prediction(NamedTuple):
    """A predicted time and the true one, in seconds."""

    likely: float
    low: float
    high: float
    actual: float


class NotEnough(ValueError):
    """Raised if there are too few journeys to learn from, or none to predict."""


def split_rides(rides: Sequence[Ride]) -> tuple[list[Ride], list[Ride], str]:
    """Return the rides to learn from, the rides to predict, and a text that describes the latter: the last week, or the
    last fifth if less than half of the rides would remain. No ride to learn from is later than one to predict.
    """
    ordered = sorted(rides, key=lambda ride: ride.at)
    since = ordered[-1].at - WEEK_MS if ordered else 0
    learnt = [ride for ride in ordered if ride.at < since]
    if len(learnt) >= MIN_TRAINED_SHARE * len(ordered):
        return learnt, ordered[len(learnt) :], "the last week"
    count = round(len(ordered) * (1 - HELD_OUT_SHARE))
    return ordered[:count], ordered[count:], "the last fifth"


def backtest(rides: Sequence[Ride]) -> dict[str, Any]:
    """Return the errors of each model on the later rides, as JSON shows them. Raises NotEnough."""
    train, test, held_out = split_rides(rides)
    times = learn_zone_times([(ride.journey, ride.points) for ride in train])
    learnt = times.journeys
    if learnt is None or not test:
        raise NotEnough(f"{len(train)} journeys to learn from, {len(test)} to predict: too few")
    models: dict[str, Callable[[Journey], TravelModel]] = {
        "one_speed": _constant(_one_speed([ride.journey for ride in train])),
        "cold_start": _constant(COLD_START),
        "without_areas": _fitted(learnt.plain),
        "learned": _fitted(learnt.by_area),
    }
    found: dict[str, Any] = {
        "learned_from": len(train),
        "predicted": len(test),
        "held_out": held_out,
        "mean_s": round(statistics.fmean(ride.journey.seconds for ride in test), 1),
        "exponent": round(learnt.by_area.exponent, 3),
        "models": {name: measure(predict(model, ride.journey) for ride in test) for name, model in models.items()},
    }
    if all(ride.driven_km is not None for ride in rides):
        found["models"]["learned_driven"] = _measure_driven(train, test)
    points = [point for ride in test for point in ride.points]
    if times.remaining is not None and points:
        found["on_the_way"] = {
            "learned": _measure_points(points, _fitted(times.remaining.by_area)),
            "whole_journeys": _measure_points(points, models["learned"]),
        }
    return found


def predict(model_for: Callable[[Journey], TravelModel], journey: Journey) -> Prediction:
    """Return the prediction of a model for a journey."""
    model = model_for(journey)
    likely = model.travel_time_s(journey.km * 1000)
    return Prediction(likely, likely * model.low, likely * model.high, journey.seconds)


def measure(predictions: Iterable[Prediction]) -> dict[str, Any]:
    """Return the errors of predictions: means and medians, in seconds (``…_s``) or as shares of the true time.
    ``bias_s`` is the mean of predicted minus true. ``kept`` is the share of journeys that took at most ``high``,
    ``band`` the share that took between ``low`` and ``high``.
    """
    known = list(predictions)
    errors = [abs(each.likely - each.actual) for each in known]
    return {
        "mae_s": round(statistics.fmean(errors), 1),
        "median_error_s": round(statistics.median(errors), 1),
        "median_error": round(statistics.median(abs(each.likely / each.actual - 1) for each in known), 4),
        "bias_s": round(statistics.fmean(each.likely - each.actual for each in known), 1),
        "median_bias": round(statistics.median(each.likely / each.actual - 1 for each in known), 4),
        "within_2_min": _share(error <= CLOSE_S for error in errors),
        "kept": _share(each.actual <= each.high for each in known),
        "band": _share(each.low <= each.actual <= each.high for each in known),
        "sample": len(known),
    }


def _share(facts: Iterable[bool]) -> float:
    return round(statistics.fmean(facts), 4)


def _one_speed(journeys: Sequence[Journey]) -> TravelModel:
    """Return the simplest model, a single speed: the sum of the seconds divided by the sum of the kilometres."""
    pace = sum(each.seconds for each in journeys) / max(1e-9, sum(each.km for each in journeys))
    return msgspec.structs.replace(COLD_START, seconds_per_km=pace, exponent=1.0)


def _constant(model: TravelModel) -> Callable[[Journey], TravelModel]:
    return lambda journey: model


def _fitted(fitted: FittedTimes) -> Callable[[Journey], TravelModel]:
    return lambda journey: model_of(fitted, journey.hour, journey.origin, journey.destination)


def _measure_driven(train: Sequence[Ride], test: Sequence[Ride]) -> dict[str, Any]:
    """Return the errors if the length by road is known, as it would be with a router."""
    by_road = [[ride.journey._replace(km=ride.driven_km or 0.0) for ride in part] for part in (train, test)]
    learnt = learn_times(by_road[0], JOURNEY_QUANTILES)
    assert learnt is not None  # as many journeys as without the known length
    return measure(predict(_fitted(learnt.by_area), journey) for journey in by_road[1])


def _measure_points(points: Sequence[Journey], model: Callable[[Journey], TravelModel]) -> dict[str, Any]:
    """Return the errors of predictions on the way, by the time that was left."""
    made = [predict(model, point) for point in points]
    by_left = {
        word: measure(some)
        for least, most, word in TIMES_LEFT_S
        if (some := [each for each in made if least <= each.actual < most])
    }
    return {"all": measure(made), **by_left}
