"""Count how accurate the predicted arrivals of a zone were. The counts are stored for each day, and published as shares
and medians.

A journey is counted before the travel times are learnt from it. Therefore the published figures contain no prediction
by a model that had learnt from the same journey.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable

import msgspec

from engine.rules.travel import Place, TravelModel
from engine.rules.travel_rides import ArrivedRide

KEPT_DAYS = 28
DAY_MS = 86_400_000
CLOSE_S = 120.0
LEFT_S = (300.0, 600.0)
LEFT_NAMES = ("under_5_min", "5_to_10_min", "over_10_min")
"""The classes of the time that was left until the arrival, and the limits between them in seconds."""
BIN_S, MAX_BINS = 5.0, 240
"""Errors are counted in bins of 5 s; the last one has all above 20 min."""


class LeftCounts(msgspec.Struct):
    """The predictions of one class of ``LEFT_NAMES``: how many there were, how many were wrong by at most 2 min, and
    the number of errors in each bin.
    """

    predicted: int = 0
    close: int = 0
    errors: dict[int, int] = {}

    def add(self, error_s: float) -> None:
        """Count a prediction with this error."""
        self.predicted += 1
        self.close += error_s <= CLOSE_S
        index = min(int(error_s / BIN_S), MAX_BINS - 1)
        self.errors[index] = self.errors.get(index, 0) + 1

    def add_all(self, other: LeftCounts) -> None:
        """Add the counts of another day."""
        self.predicted += other.predicted
        self.close += other.close
        for index, count in other.errors.items():
            self.errors[index] = self.errors.get(index, 0) + count

    def median_s(self) -> float | None:
        """Return the median error in seconds, exact to half a bin; None without a prediction."""
        before = 0
        for index in sorted(self.errors):
            before += self.errors[index]
            if 2 * before >= self.predicted:
                return (index + 0.5) * BIN_S
        return None


class DayCounts(msgspec.Struct):
    """The journeys that ended on one day: how many there were, how many had a promise, in how many of these it was
    kept, and the predictions on the way by class of the time left.
    """

    rides: int = 0
    promised: int = 0
    kept: int = 0
    left: list[LeftCounts] = msgspec.field(default_factory=lambda: [LeftCounts() for _ in LEFT_NAMES])


class ZoneQuality(msgspec.Struct):
    """The counts of the last ``KEPT_DAYS`` days, by the day's number since the Unix epoch. All journeys that ended up
    to ``counted_to`` (ms since the Unix epoch) are counted. ``rides_since`` is how many journeys were counted since the
    last fit of the travel times.
    """

    counted_to: int = 0
    rides_since: int = 0
    days: dict[int, DayCounts] = {}

    def count(self, ride: ArrivedRide, predictions: Iterable[tuple[float, float]]) -> None:
        """Count a journey. ``predictions`` are pairs: the predicted and the true seconds left at a point of the way."""
        day = self.days.setdefault(ride.arrived // DAY_MS, DayCounts())
        day.rides += 1
        self.rides_since += 1
        if ride.promise is not None:
            day.promised += 1
            day.kept += ride.arrived <= ride.promise
        for predicted_s, true_s in predictions:
            day.left[bisect_right(LEFT_S, true_s)].add(abs(predicted_s - true_s))

    def drop_old_days(self, now: int) -> None:
        """Delete the counts of days that are no longer published at ``now`` (ms since the Unix epoch)."""
        self.days = {day: counts for day, counts in self.days.items() if day > now // DAY_MS - KEPT_DAYS}

    def total(self) -> DayCounts:
        """Return the sum of all days."""
        whole = DayCounts()
        for day in self.days.values():
            whole.rides, whole.promised, whole.kept = (
                whole.rides + day.rides,
                whole.promised + day.promised,
                whole.kept + day.kept,
            )
            for mine, theirs in zip(whole.left, day.left, strict=True):
                mine.add_all(theirs)
        return whole


def predict_left(ride: ArrivedRide, model_at: Callable[[int, Place], TravelModel]) -> list[tuple[float, float]]:
    """Return the predicted and the true seconds left at each point of the way. ``model_at`` gives the model for a time
    (ms) and the place of the job.
    """
    return [
        (model_at(point.at, ride.destination).travel_time_s(ride.length_m(point)), ride.left_s(point))
        for point in ride.points
    ]
