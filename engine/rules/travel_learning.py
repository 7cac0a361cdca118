"""Learn travel times from past journeys: T = a · km^b · f(hour, weekend) · g(from area) · g(to area).

The logarithm of this is a sum. Its parts are fitted in turn until they no longer change (backfitting: Hastie and
Tibshirani, Generalized Additive Models, 1986). A factor with few journeys is shrunk towards 1: it is the mean over its
journeys and ``SHRINKAGE`` imaginary ones that need no correction. The quantiles of the error come from journeys that
were left out of the fit (cross-validation), because the errors of the fitted journeys are too small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import NamedTuple

import msgspec

MIN_JOURNEYS = 200
"""The least number of journeys to learn from."""
MAX_JOURNEYS, MAX_POINTS, MAX_POINTS_OF_JOURNEY = 6_000, 12_000, 8
"""The most journeys that a fit uses, the latest, and the most points on their way: more take longer and hardly change
it. Neighbouring points of a journey say nearly the same."""
SHRINKAGE = 20.0
HOURS = 48
"""The classes of hours: 24 of working days, then 24 of the weekend."""
MIN_EXPONENT, MAX_EXPONENT = 0.3, 1.2
ROUNDS = 4
FOLDS = 4
MIN_KM = 0.02


class Journey(NamedTuple):
    """A journey of a technician: the straight distance (km), the time that it took (seconds), the class of the hour in
    which it began (``hour_class``), and the areas in which it began and ended ("" if unknown).
    """

    km: float
    seconds: float
    hour: int
    origin: str = ""
    destination: str = ""


class Quantiles(NamedTuple):
    """The quantiles of the error to which ``low`` and ``high`` of the learnt times correspond."""

    low: float
    high: float


JOURNEY_QUANTILES, REMAINING_QUANTILES = Quantiles(0.1, 0.8), Quantiles(0.1, 0.9)
"""``high`` of a whole journey is the promise (P80). On the way, four of five arrivals lie between ``low`` and ``high``.
"""


class FittedTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One fit. ``hours`` are factors for each class of hours, ``origins`` and ``destinations`` for each known area.
    ``low`` and ``high`` are the factors of the quantiles of the error.
    """

    seconds_per_km: float
    exponent: float
    hours: tuple[float, ...]
    origins: dict[str, float] = {}
    destinations: dict[str, float] = {}
    low: float
    high: float

    def pace(self, hour: int, origin: str = "", destination: str = "") -> float:
        """Return the seconds for 1 km in this class of hours, between these areas."""
        places = self.origins.get(origin, 1.0) * self.destinations.get(destination, 1.0)
        return self.seconds_per_km * self.hours[hour] * places

    def travel_time_s(self, journey: Journey) -> float:
        """Return the likely time in seconds of a journey."""
        pace = self.pace(journey.hour, journey.origin, journey.destination)
        return pace * math.pow(max(journey.km, MIN_KM), self.exponent)


class LearntTimes(msgspec.Struct, frozen=True):
    """What was learnt from ``journeys`` journeys: ``by_area``, and ``plain`` for callers who do not know the areas."""

    plain: FittedTimes
    by_area: FittedTimes
    journeys: int


class ZoneTimes(msgspec.Struct, frozen=True):
    """What a zone has learnt: ``journeys`` from whole journeys, ``remaining`` from the rest of journeys after points on
    the way. Near the end, a model of whole journeys is too slow, because it contains the start. None: there are too few
    journeys yet.
    """

    journeys: LearntTimes | None = None
    remaining: LearntTimes | None = None


def hour_class(hour: int, weekday: int) -> int:
    """Return the class of an hour (0 to 23) of a weekday (Monday is 0)."""
    return hour + 24 * (weekday >= 5)


def learn_zone_times(rides: Sequence[tuple[Journey, Sequence[Journey]]]) -> ZoneTimes:
    """Fit the travel times of a zone. ``rides`` has, in the order of their times, each journey and its rest after each
    point on the way.
    """
    latest = rides[-MAX_JOURNEYS:]
    journeys = learn_times([journey for journey, _ in latest], JOURNEY_QUANTILES)
    if journeys is None:  # a few journeys have many points, which say little about other journeys
        return ZoneTimes()
    count = min(MAX_POINTS_OF_JOURNEY, max(1, MAX_POINTS // len(latest)))
    points = [point for _, way in latest for point in _choose_evenly(way, count)]
    return ZoneTimes(journeys, learn_times(points, REMAINING_QUANTILES))


def learn_times(journeys: Sequence[Journey], quantiles: Quantiles) -> LearntTimes | None:
    """Fit journeys, which are in the order of their times. Return None for fewer than ``MIN_JOURNEYS``."""
    if len(journeys) < MIN_JOURNEYS:
        return None
    without = [each._replace(origin="", destination="") for each in journeys]
    return LearntTimes(_fit_with_errors(without, quantiles), _fit_with_errors(journeys, quantiles), len(journeys))


def _choose_evenly(points: Sequence[Journey], count: int) -> list[Journey]:
    step = max(1.0, len(points) / count)
    return [points[int((at + 0.5) * step)] for at in range(min(len(points), count))]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the sorted values lie; between two of them it is interpolated."""
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def _fit_with_errors(journeys: Sequence[Journey], quantiles: Quantiles) -> FittedTimes:
    """Fit all journeys. The errors are those of ``FOLDS`` fits that each leave out one part of the journeys."""
    errors: list[float] = []
    for fold in range(FOLDS):
        first, end = (len(journeys) * part // FOLDS for part in (fold, fold + 1))
        fitted = _fit([*journeys[:first], *journeys[end:]])
        errors += (_log_error(fitted, each) for each in journeys[first:end])
    errors.sort()
    low, high = (math.exp(quantile(errors, share)) for share in quantiles)
    return msgspec.structs.replace(_fit(journeys), low=min(low, 1.0), high=max(high, 1.0))


def _log_error(fitted: FittedTimes, journey: Journey) -> float:
    return math.log(journey.seconds / fitted.travel_time_s(journey))


def _fit(journeys: Sequence[Journey]) -> FittedTimes:
    lengths = [math.log(max(each.km, MIN_KM)) for each in journeys]
    times = [math.log(each.seconds) for each in journeys]
    days = [each.hour % 24 for each in journeys]
    groups: dict[str, list[str] | list[int]] = {
        "day": days,
        "hour": [each.hour for each in journeys],
        "origin": [each.origin for each in journeys],
        "destination": [each.destination for each in journeys],
    }
    effects: dict[str, dict[str | int, float]] = {name: {} for name in groups}
    applied = {name: [0.0] * len(journeys) for name in groups}
    start, exponent, rest = 0.0, 0.0, times
    for _ in range(ROUNDS):
        rest = [time - sum(parts) for time, *parts in zip(times, *applied.values(), strict=True)]
        start, exponent = _fit_line(lengths, rest)
        rest = [value - start - exponent * length for value, length in zip(rest, lengths, strict=True)]
        for name, members in groups.items():
            before = applied[name]
            alone = [value + part for value, part in zip(rest, before, strict=True)]
            effects[name] = _shrunk_means(members, alone)
            applied[name] = [effects[name].get(member, 0.0) for member in members]
            rest = [value - part for value, part in zip(alone, applied[name], strict=True)]
    hours = (effects["day"].get(hour % 24, 0.0) + effects["hour"].get(hour, 0.0) for hour in range(HOURS))
    return FittedTimes(
        seconds_per_km=math.exp(start + quantile(sorted(rest), 0.5)),
        exponent=exponent,
        hours=tuple(math.exp(effect) for effect in hours),
        origins=_factors(effects["origin"]),
        destinations=_factors(effects["destination"]),
        low=1.0,
        high=1.0,
    )


def _factors(effects: Mapping[str | int, float]) -> dict[str, float]:
    return {str(area): math.exp(effect) for area, effect in effects.items()}


def _fit_line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Return the intercept and the slope of the least-squares line. The slope is limited to its bounds."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    common = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    slope = min(MAX_EXPONENT, max(MIN_EXPONENT, common / spread if spread else 1.0))
    return mean_y - slope * mean_x, slope


def _shrunk_means(members: Sequence[str | int], values: Sequence[float]) -> dict[str | int, float]:
    """Return for each member the mean of its values, shrunk towards 0. The member "" is left out."""
    sums: dict[str | int, float] = {}
    counts: dict[str | int, int] = {}
    known = [member != "" for member in members]
    for member, value in compress(zip(members, values, strict=True), known):
        sums[member] = sums.get(member, 0.0) + value
        counts[member] = counts.get(member, 0) + 1
    return {member: total / (counts[member] + SHRINKAGE) for member, total in sums.items()}
