"""What a forecast has learnt, as numbers that can be stored: one record for each area, and one for the zone.

Only the default forecaster is stored. Any other forecaster learns the counts of the last weeks again after a restart.
These counts are not stored here, because the table of counts has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from engine.rules.demand_forecast import PROFILE, DemandForecast, Score
from engine.rules.forecast import AreaProfile

FORMAT = 1
"""Rises with each change of what is learnt: states of another format are ignored, and the counts are learnt again."""


class AreaState(msgspec.Struct, frozen=True, array_like=True):
    """What the forecast has learnt about an area. ``base`` is the profile (a mean count for each hour of the week),
    ``rest`` the other numbers of an ``AreaProfile``. ``pending`` has the expected counts of coming hours for each
    horizon, the next hour first.
    """

    base: list[float]
    rest: list[float]
    pending: list[list[float]]


class ZoneState(msgspec.Struct, frozen=True):
    """What the forecast has learnt about the zone. ``hour`` is the last hour that was learnt, ``weeks`` how many weeks
    were learnt of each hour of the week. ``scores`` has a row for each candidate and horizon.
    """

    format: int
    timezone: str
    first_hour: int
    hour: int
    weeks: list[int]
    base: list[float]
    rest: list[float]
    scores: list[tuple[str, int, float, float, float, float]]


def zone_state(forecast: DemandForecast, first_hour: int) -> ZoneState:
    """Return the state of the whole zone, whose first counted hour is ``first_hour``."""
    zone, profile = forecast.profile.zone, forecast.profile
    scores = [
        (name, horizon, score.error, score.hours, score.excess, score.squares)
        for (name, horizon), score in sorted(forecast.scores.items())
    ]
    return ZoneState(
        FORMAT,
        profile.slots.timezone,
        first_hour,
        forecast.hour,
        list(profile.weeks),
        list(zone.base),
        _rest(zone),
        scores,
    )


def area_states(forecast: DemandForecast) -> Iterable[tuple[str, AreaState]]:
    """Return the state of each area. If an area was not known yet when an hour was forecast, its ``pending`` has fewer
    numbers.
    """
    pending = [
        [forecast.pending.get((forecast.hour + ahead, PROFILE, horizon), {}) for ahead in range(1, horizon + 1)]
        for horizon in forecast.scored
    ]
    for area, profile in sorted(forecast.profile.areas.items()):
        said = [[hour[area] for hour in hours if area in hour] for hours in pending]
        yield area, AreaState(list(profile.base), _rest(profile), said)


def scores_of(zone: ZoneState) -> dict[tuple[str, int], Score]:
    """Return the stored scores, by candidate and horizon."""
    return {(name, horizon): Score(*numbers) for name, horizon, *numbers in zone.scores}


def restore(forecast: DemandForecast, zone: ZoneState, areas: Mapping[str, AreaState]) -> None:
    """Restore the stored state into a new forecast. The caller must also fill its history with the counts of the last
    weeks.
    """
    forecast.hour = forecast.profile.hour = zone.hour
    forecast.profile.weeks = list(zone.weeks)
    forecast.profile.zone = AreaProfile(list(zone.base), *zone.rest)
    forecast.scores |= {key: score for key, score in scores_of(zone).items() if key in forecast.scores}
    pending: dict[tuple[int, str, int], dict[str, float]] = {}
    for horizon in forecast.scored:
        for ahead in range(1, horizon + 1):
            pending[zone.hour + ahead, PROFILE, horizon] = {}
    for area, state in areas.items():
        forecast.profile.areas[area] = AreaProfile(list(state.base), *state.rest)
        for horizon, said in zip(forecast.scored, state.pending, strict=True):
            for ahead, mean in zip(range(horizon, 0, -1), reversed(said), strict=False):
                pending[zone.hour + ahead, PROFILE, horizon][area] = mean
    forecast.profile.set_levels()
    forecast.pending |= pending


def _rest(profile: AreaProfile) -> list[float]:
    """Return the stored numbers of a profile except ``base``, in the order of the fields."""
    return [
        profile.share,
        profile.slow_seen,
        profile.slow_expected,
        profile.fast_seen,
        profile.fast_expected,
    ]
