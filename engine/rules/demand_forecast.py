"""The forecast that a zone serves: for each horizon the candidate with the smallest recent errors, with a band.

Candidates are the default forecaster, two baselines and each other forecaster that is installed. Each is scored with
every hour that ends: its score is a decaying sum of absolute errors. Therefore a forecaster that is worse than a
baseline is not served for long. The band lies between the quantiles 0.1 and 0.9 of a negative binomial distribution,
whose dispersion is learnt for each candidate and horizon from the expected and the real counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import fsum, inf
from typing import NamedTuple

from engine.rules.count_bands import band_of
from engine.rules.forecast import Forecaster, ForecasterFailed, ProfileForecaster
from engine.rules.forecast_baselines import MEAN_WEEKS, CountHistory
from engine.rules.hour_slots import WEEK_HOURS, HourSlots

HORIZONS = (1, 2, 3, 4, 5, 6, 24)
"""How many hours after the last closed hour the forecast hour ends."""
SCORED_HORIZONS = (1, 3, 6, 24)
"""The horizons that are scored. For another horizon, the scores of the next longer of these decide."""
SCORE_KEPT = 0.995
"""The share of a score that is left after an hour: the half-life is about six days."""
LEAST_HOURS = (1 - SCORE_KEPT**WEEK_HOURS) / (1 - SCORE_KEPT) - 1e-6
"""Candidates are compared once a week of hours has been scored. This is the decayed number of hours of a week."""
CLEARLY_BETTER = 0.98
"""A candidate is served instead of the default if its errors are below this share of the default's: smaller
differences change their sign from week to week."""
FIRST_DISPERSION = 0.2
"""The dispersion before anything is learnt."""
DISPERSION_EVENTS = 50.0
"""The weight of ``FIRST_DISPERSION``: that of so many expected requests."""
LEAST_MEAN = 0.05
"""Expected counts below this do not count for the dispersion: each would add much noise."""
PROFILE, LAST_WEEK, MEAN_OF_WEEKS = "profile", "last_week", "mean_of_weeks"
BASELINES = {LAST_WEEK: 1, MEAN_OF_WEEKS: MEAN_WEEKS}
"""The baselines: how many weeks each is the mean of."""


class ForecastErrors(NamedTuple):
    """The errors of one forecast hour. ``error`` is the sum over the areas of the absolute errors. The dispersion is
    ``excess / squares``: the sum of (error² ÷ mean − 1) and the sum of the means, because the variance of a count is
    m + d m².
    """

    error: float
    excess: float
    squares: float


def measure_errors(expected: Mapping[str, float], counts: Mapping[str, int]) -> ForecastErrors:
    """Return the errors of ``expected``, both by area. The sums are exact: they do not depend on the order of the
    areas, which changes with a restart.
    """
    errors = [(counts.get(area, 0) - mean, mean) for area, mean in expected.items()]
    error = fsum([abs(difference) for difference, _ in errors])
    error += sum([count for area, count in counts.items() if area not in expected])
    larger = [(difference * difference / mean - 1, mean) for difference, mean in errors if mean > LEAST_MEAN]
    return ForecastErrors(error, fsum([excess for excess, _ in larger]), fsum([mean for _, mean in larger]))


class Score:
    """The recent errors of one candidate at one horizon, as decaying sums."""

    __slots__ = ("error", "excess", "hours", "squares")

    def __init__(self, error: float = 0.0, hours: float = 0.0, excess: float = 0.0, squares: float = 0.0) -> None:
        self.error, self.hours, self.excess, self.squares = error, hours, excess, squares

    def add_errors(self, errors: ForecastErrors, *, is_compared: bool) -> None:
        """Add the errors of an hour. ``is_compared``: all candidates forecast this hour, so that it counts for the
        comparison.
        """
        if is_compared:
            self.error = SCORE_KEPT * self.error + errors.error
            self.hours = SCORE_KEPT * self.hours + 1
        self.excess = SCORE_KEPT * self.excess + errors.excess
        self.squares = SCORE_KEPT * self.squares + errors.squares

    @property
    def dispersion(self) -> float:
        """The dispersion that explains the errors."""
        prior = FIRST_DISPERSION * DISPERSION_EVENTS
        return max(0.0, (self.excess + prior) / (self.squares + DISPERSION_EVENTS))


class HourForecast(NamedTuple):
    """The expected count of an hour, and its band of 80 %."""

    mean: float
    p10: int
    p90: int


class DemandForecast:
    """The forecast of one zone."""

    def __init__(
        self, slots: HourSlots, horizons: Iterable[int] = HORIZONS, others: Mapping[str, Forecaster] | None = None
    ) -> None:
        self.horizons = tuple(horizons)
        self.history = CountHistory()
        self.profile = ProfileForecaster(slots)
        self.forecasters: dict[str, Forecaster] = {PROFILE: self.profile, **(others or {})}
        self.scored = sorted({scored_horizon(horizon) for horizon in self.horizons})
        self.scores = {(name, h): Score() for name in (*self.forecasters, *BASELINES) for h in self.scored}
        self.pending: dict[tuple[int, str, int], Mapping[str, float]] = {}
        """What each forecaster expects, by hour, forecaster and horizon."""
        self.hour = -1

    def close(self, hour: int, counts: Mapping[str, int], total: int) -> None:
        """Score and learn an hour that is over."""
        is_compared = self.history.has(hour - WEEK_HOURS)
        for name in self.forecasters:
            for horizon in self.scored:
                expected = self.pending.pop((hour, name, horizon), None)
                if expected is not None:
                    self.scores[name, horizon].add_errors(measure_errors(expected, counts), is_compared=is_compared)
        for name, weeks in BASELINES.items() if is_compared else ():
            errors = measure_errors(self.history.mean_of_weeks(hour, weeks), counts)
            for horizon in self.scored:
                self.scores[name, horizon].add_errors(errors, is_compared=True)
        self.history.close(hour, counts, total)
        self.hour = hour
        for name, forecaster in self.forecasters.items():
            self._learn(name, forecaster, hour, counts, total)

    def learn_again(self, hour: int, counts: Mapping[str, int], total: int) -> None:
        """Let the forecasters whose state is not stored (all except the default one) learn an hour again. The hour is
        not scored again.
        """
        for name, forecaster in self.forecasters.items():
            if name != PROFILE:
                self._learn(name, forecaster, hour, counts, total)

    def _learn(self, name: str, forecaster: Forecaster, hour: int, counts: Mapping[str, int], total: int) -> None:
        """Let a forecaster learn an hour, and store what it expects of hours that are not over. Raises
        ForecasterFailed.
        """
        _let_learn(name, forecaster, hour, counts, total)
        for horizon in self.scored:
            if hour + horizon > self.hour:
                self.pending[hour + horizon, name, horizon] = _ask(name, forecaster, horizon)

    def best(self, horizon: int) -> str:
        """Return the name of the candidate that is served at a horizon: the default one, unless another had clearly
        smaller errors in at least a week of hours that all candidates forecast.
        """
        return best_candidate(
            {name: self.scores[name, scored_horizon(horizon)] for name in (*self.forecasters, *BASELINES)}
        )

    def expected(self, horizon: int, name: str) -> Mapping[str, float]:
        """Return what a candidate expects, by area."""
        if name in BASELINES:
            return self.history.mean_of_weeks(self.hour + horizon, BASELINES[name])
        found = self.pending.get((self.hour + horizon, name, horizon))
        return _ask(name, self.forecasters[name], horizon) if found is None else found

    def dispersion(self, horizon: int, name: str) -> float:
        """Return the dispersion of counts around what a candidate expects (engine/rules/count_bands.py)."""
        return self.scores[name, scored_horizon(horizon)].dispersion

    def ahead(self) -> dict[int, dict[str, HourForecast]]:
        """Return the served forecasts, by horizon and area."""
        served = {}
        for horizon in self.horizons:
            name = self.best(horizon)
            dispersion = self.dispersion(horizon, name)
            served[horizon] = {
                area: HourForecast(mean, *band_of(mean, dispersion))
                for area, mean in self.expected(horizon, name).items()
            }
        return served


def _let_learn(name: str, forecaster: Forecaster, hour: int, counts: Mapping[str, int], total: int) -> None:
    """Let a forecaster learn an hour. Raises ForecasterFailed if one of another package raises."""
    try:
        forecaster.close(hour, counts, total)
    except Exception as error:
        if name == PROFILE:
            raise
        raise ForecasterFailed(name, error) from error


def _ask(name: str, forecaster: Forecaster, horizon: int) -> Mapping[str, float]:
    """Return what a forecaster expects, by area. Areas for which a forecaster of another package returns a negative
    number, an infinite one or NaN are left out. Raises ForecasterFailed if such a forecaster raises.
    """
    if name == PROFILE:
        return forecaster.ahead(horizon)
    try:
        return {area: mean for area, mean in forecaster.ahead(horizon).items() if 0 <= mean < inf}
    except Exception as error:
        raise ForecasterFailed(name, error) from error


def scored_horizon(horizon: int) -> int:
    """Return the horizon whose scores decide for ``horizon``."""
    return min((scored for scored in SCORED_HORIZONS if scored >= horizon), default=SCORED_HORIZONS[-1])


def best_candidate(scores: Mapping[str, Score]) -> str:
    """Return the name of the candidate whose errors are clearly smaller than those of the default one; the default's
    name if there is none.
    """
    known = {name: score.error / score.hours for name, score in scores.items() if score.hours >= LEAST_HOURS}
    if PROFILE not in known:
        return PROFILE
    known[PROFILE] *= CLEARLY_BETTER
    return min(known, key=known.__getitem__)
