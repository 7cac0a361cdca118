"""A forecaster with LightGBM: a candidate of the backtest, for comparison. It needs the extra ``forecast``, and only
``callout demand backtest --model lightgbm`` imports it.

For each horizon one Poisson model is trained for all areas. If the horizon is n hours, all features of an hour are
known n hours before it. Models are trained again every four weeks, from the last half year.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np

from engine.rules.hour_slots import WEEK_HOURS, HourSlots

FIRST_TRAINING = 2 * WEEK_HOURS
"""How many hours are learnt before the first models are trained."""
LARGEST_STEP = 4 * WEEK_HOURS
"""Models are trained again after at most this many hours, or after a quarter of the known hours if that is less."""
TRAINED_HOURS = 26 * WEEK_HOURS
OLDEST_LAG = 4 * WEEK_HOURS
ROUNDS = 150
PARAMETERS = {
    "objective": "poisson",
    "learning_rate": 0.06,
    "num_leaves": 63,
    "min_data_in_leaf": 40,
    "deterministic": True,
    "num_threads": 2,
    "seed": 1,
    "verbosity": -1,
}


class LightGBMForecaster:
    """One model for each requested horizon. Before the first training the forecast is the mean of all hours."""

    def __init__(self, slots: HourSlots) -> None:
        self._slots = slots
        self._columns: dict[str, int] = {}
        self._first_hour = self._hour = -1
        self._counts = np.zeros((1024, 16), np.float32)
        self._sums = np.zeros((1025, 16), np.float64)
        """The sums of the counts of all hours before each hour."""
        self._models: dict[int, Any] = {}
        self._train_at = FIRST_TRAINING

    def close(self, hour: int, counts: Mapping[str, int], total: int) -> None:
        """Learn the counts of an hour that is over."""
        if self._first_hour < 0:
            self._first_hour = hour
        self._hour = hour
        at = hour - self._first_hour
        for area in counts:
            self._columns.setdefault(area, len(self._columns))
        self._grow(at + 1)
        for area, count in counts.items():
            self._counts[at, self._columns[area]] = count
        self._sums[at + 1] = self._sums[at] + self._counts[at]
        if at + 1 >= self._train_at:
            self._train_at = at + 1 + min(LARGEST_STEP, (at + 1) // 4)
            self._models.clear()

    def ahead(self, hours: int) -> dict[str, float]:
        """Return the expected count of each known area, ``hours`` after the last closed hour."""
        known = self._hour - self._first_hour + 1
        if known < FIRST_TRAINING or not self._columns:
            means = self._sums[known] / max(known, 1)
        else:
            if hours not in self._models:
                self._models[hours] = self._train(hours, known)
            means = self._models[hours].predict(self._features(np.array([known - 1 + hours]), hours))
        return {area: float(means[column]) for area, column in self._columns.items()}

    def _grow(self, rows: int) -> None:
        """Make room for ``rows`` hours and for all known areas."""
        more = (max(0, rows - len(self._counts)), max(0, len(self._columns) - self._counts.shape[1]))
        if any(more):
            room = [(0, len(self._counts) if more[0] else 0), (0, self._counts.shape[1] if more[1] else 0)]
            room[1] = (0, max(room[1][1], more[1]))
            self._counts, self._sums = np.pad(self._counts, room), np.pad(self._sums, room)

    def _train(self, hours: int, known: int) -> Any:
        """Return a model that is trained on the hours before ``known``, with features that are known ``hours`` hours
        before each of them.
        """
        first = max(WEEK_HOURS + hours, known - TRAINED_HOURS)
        targets = np.arange(first, known)
        features = self._features(targets, hours)
        labels = self._counts[targets, : len(self._columns)].ravel()
        return lightgbm.train(PARAMETERS, lightgbm.Dataset(features, labels), ROUNDS)

    def _features(self, targets: Any, hours: int) -> Any:
        """Return a row for each target hour and area. Only counts up to ``hours`` before a target hour are used."""
        last = targets - hours
        slots = np.array([self._slots.slot_of(self._first_hour + int(at)) for at in targets])
        day = 24 * -(-hours // 24)
        weeks = [self._count_at(targets - week * WEEK_HOURS) for week in range(1, 5)]
        columns = [
            self._spread(slots % 24),
            self._spread(slots // 24),
            self._spread(slots),
            *(self._count_at(last - lag) for lag in range(3)),
            *(self._mean_before(last + 1, span) for span in (3, 6, 24, WEEK_HOURS, OLDEST_LAG)),
            self._mean_before(last + 1 - WEEK_HOURS, 3),
            self._count_at(targets - day),
            self._count_at(targets - day - 24),
            *weeks,
            np.nanmean(weeks, axis=0),
            self._count_at(targets - WEEK_HOURS - 1),
            self._count_at(targets - WEEK_HOURS + 1) if hours < WEEK_HOURS else weeks[0],
            self._spread(self._mean_before(last + 1, 3).mean(axis=1)),
            self._spread(self._mean_before(last + 1 - WEEK_HOURS, 3).mean(axis=1)),
        ]
        return np.stack([column.ravel() for column in columns], axis=1)

    def _spread(self, values: Any) -> Any:
        """Return the value of each target hour, repeated for all areas."""
        return np.repeat(np.asarray(values, np.float32)[:, None], len(self._columns), axis=1)

    def _count_at(self, at: Any) -> Any:
        """Return the counts of the hours ``at``; NaN before the first hour."""
        found = self._counts[np.maximum(at, 0), : len(self._columns)].copy()
        found[at < 0] = np.nan
        return found

    def _mean_before(self, at: Any, span: int) -> Any:
        """Return the mean of the ``span`` hours before each hour of ``at``; NaN before the first hour."""
        end, start = np.maximum(at, 0), np.maximum(at - span, 0)
        sums = self._sums[end, : len(self._columns)] - self._sums[start, : len(self._columns)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where((end > start)[:, None], sums / (end - start)[:, None], np.nan).astype(np.float32)
