"""Backtests: compare what the forecast would have expected of past hours with the real requests. Each hour is forecast
before it is learnt, so that no forecast knows the future.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from engine.rules.count_bands import quantile
from engine.rules.demand_forecast import BASELINES, MEAN_OF_WEEKS, DemandForecast
from engine.rules.forecast import Forecaster
from engine.rules.hour_slots import WEEK_HOURS, HourSlots

BACKTEST_HORIZONS = (1, 3, 24)
MOST_TEST_HOURS, LEAST_LEARNT_HOURS = 12 * WEEK_HOURS, 3 * WEEK_HOURS
PROBABILITIES = (0.1, 0.5, 0.9)
BAND_MEAN = 3.0
"""``in_band`` is measured where at least so many requests are expected: the band of a smaller count is too coarse."""
SERVED, MEAN_OF_TWO = "served", "mean_of_2_weeks"


class HourCounts(NamedTuple):
    """The counts of one hour: those of areas with requests."""

    hour: int
    counts: Mapping[str, int]


class Accuracy(NamedTuple):
    """How well a candidate forecast the counts of some areas at one horizon. Less is better, except for ``in_band``.

    ``mae`` is the mean absolute error of the expected count, in requests. ``mase`` is the mean absolute scaled error:
    the mean over the areas of their error, divided by the error of "the same as last week" before the test (Hyndman and
    Koehler, 2006). ``mase_of_median`` is the same for the forecast median instead of the expected count. ``pinball`` is
    the mean loss of the quantiles 0.1, 0.5 and 0.9. ``in_band`` is the share of counts between the quantiles 0.1 and
    0.9 (0.8 is right), among those of which at least 3 requests were expected; None if there are none.
    """

    mae: float
    mase: float
    mase_of_median: float
    pinball: float
    in_band: float | None


class _CandidateErrors:
    """The errors of one candidate at one horizon."""

    def __init__(self) -> None:
        self.errors: dict[str, float] = {}
        self.median_errors: dict[str, float] = {}
        self.losses: dict[str, float] = {}
        self.banded: dict[str, tuple[int, int]] = {}
        self.points = 0

    def add(self, area: str, count: int, mean: float, dispersion: float) -> None:
        quantiles = [quantile(mean, dispersion, probability) for probability in PROBABILITIES]
        losses = (
            p * max(0, count - q) + (1 - p) * max(0, q - count) for p, q in zip(PROBABILITIES, quantiles, strict=True)
        )
        self.errors[area] = self.errors.get(area, 0.0) + abs(count - mean)
        self.median_errors[area] = self.median_errors.get(area, 0.0) + abs(count - quantiles[1])
        self.losses[area] = self.losses.get(area, 0.0) + sum(losses) / len(PROBABILITIES)
        if mean >= BAND_MEAN:
            held, seen = self.banded.get(area, (0, 0))
            self.banded[area] = held + (quantiles[0] <= count <= quantiles[2]), seen + 1


class Backtest:
    """A backtest of hours in order, without a gap. The last ``test_hours`` are scored; those before are only learnt."""

    def __init__(
        self,
        hours: Sequence[HourCounts],
        slots: HourSlots,
        *,
        test_hours: int | None = None,
        others: Mapping[str, Forecaster] | None = None,
    ) -> None:
        self.areas = sorted({area for hour in hours for area in hour.counts})
        self.test_hours = test_hours or max(0, min(MOST_TEST_HOURS, len(hours) - LEAST_LEARNT_HOURS))
        self.learnt_hours = len(hours) - self.test_hours
        self._hours = hours
        self._forecast = DemandForecast(slots, BACKTEST_HORIZONS, others)
        self.candidates = (SERVED, *self._forecast.forecasters, *BASELINES, MEAN_OF_TWO)
        self._sums = {(name, h): _CandidateErrors() for name in self.candidates for h in BACKTEST_HORIZONS}
        self.served_hours: dict[int, dict[str, int]] = {h: {} for h in BACKTEST_HORIZONS}
        """In how many hours of the test each candidate was the served one, by horizon and name."""

    def run(self) -> None:
        """Forecast and learn each hour."""
        pending: dict[int, list[tuple[str, int, Mapping[str, float], float]]] = {}
        forecast, first_test = self._forecast, self._hours[self.learnt_hours].hour
        for hour, counts in self._hours:
            for name, horizon, expected, dispersion in pending.pop(hour, ()):
                sums = self._sums[name, horizon]
                for area in self.areas:
                    sums.add(area, counts.get(area, 0), expected.get(area, 0.0), dispersion)
            forecast.close(hour, counts, sum(counts.values()))
            for horizon in BACKTEST_HORIZONS:
                if hour + horizon >= first_test:
                    pending.setdefault(hour + horizon, []).extend(self._forecasts_ahead(horizon))

    def _forecasts_ahead(self, horizon: int) -> Iterable[tuple[str, int, Mapping[str, float], float]]:
        forecast, best = self._forecast, self._forecast.best(horizon)
        self.served_hours[horizon][best] = self.served_hours[horizon].get(best, 0) + 1
        for name in (*forecast.forecasters, *BASELINES):
            expected, dispersion = forecast.expected(horizon, name), forecast.dispersion(horizon, name)
            yield name, horizon, expected, dispersion
            if name == best:
                yield SERVED, horizon, expected, dispersion
        two_weeks = forecast.history.mean_of_weeks(forecast.hour + horizon, 2)
        yield MEAN_OF_TWO, horizon, two_weeks, forecast.dispersion(horizon, MEAN_OF_WEEKS)

    def naive_errors(self) -> dict[str, float]:
        """Return the mean absolute error of "the same as last week" in the hours before the test, for each area."""
        sums = dict.fromkeys(self.areas, 0)
        for before, now in zip(self._hours, self._hours[WEEK_HOURS : self.learnt_hours], strict=False):
            for area in before.counts.keys() | now.counts.keys():
                sums[area] += abs(now.counts.get(area, 0) - before.counts.get(area, 0))
        return {area: total / (self.learnt_hours - WEEK_HOURS) for area, total in sums.items()}

    def means(self) -> dict[str, float]:
        """Return each area's mean count of requests in an hour."""
        sums = dict.fromkeys(self.areas, 0)
        for hour in self._hours:
            for area, count in hour.counts.items():
                sums[area] += count
        return {area: total / len(self._hours) for area, total in sums.items()}

    def accuracy(self, name: str, horizon: int, areas: Sequence[str]) -> Accuracy:
        """Return the accuracy of a candidate over these areas."""
        sums, scales = self._sums[name, horizon], self.naive_errors()
        scaled = [area for area in areas if scales[area] > 0]
        held, seen = (sum(sums.banded.get(area, (0, 0))[i] for area in areas) for i in (0, 1))
        points = self.test_hours * len(areas)
        return Accuracy(
            sum(sums.errors[area] for area in areas) / points,
            sum(sums.errors[area] / self.test_hours / scales[area] for area in scaled) / len(scaled),
            sum(sums.median_errors[area] / self.test_hours / scales[area] for area in scaled) / len(scaled),
            sum(sums.losses[area] for area in areas) / points,
            held / seen if seen else None,
        )
