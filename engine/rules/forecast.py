"""Forecasts of requests by area: an hour-of-week profile, and two levels that follow the present requests.

The expected count of an area in an hour is ``profile x slow level x fast level``. The profile of an area is a moving
average of its counts in each hour of the week, shrunk towards the zone's profile times the area's share. A level is the
ratio of real to expected requests, over the last days (slow) or the last hours (fast), shrunk towards the zone's level.
The farther ahead an hour is, the nearer its levels are to 1.

The functions are pure: the same counts give exactly the same numbers on every machine with IEEE 754. The constants are
from a comparison on public traces (docs/demand.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from engine.rules.hour_slots import WEEK_HOURS, HourSlots

LEAST_WEIGHT = 0.12
"""The weight of the newest week in a moving average of many weeks."""
PRIOR_EVENTS, PRIOR_WEEKS = 4.0, 8.0
"""In the mean of an area's profile and the zone's profile, the latter weighs as many weeks as it takes until it expects
``PRIOR_EVENTS`` requests in the slot, at most ``PRIOR_WEEKS``. (Rejected: a fixed number of weeks, which was worse than
no forecast where only three weeks were known.)"""
SHARE_KEPT = 0.999
"""How much of an area's share is left after an hour: the half-life is 29 days."""
SLOW_WEIGHT, SLOW_FADE = 0.01, 0.997
FAST_WEIGHT, FAST_FADE = 0.4, 0.7
"""The weight of the newest hour in a level, and the share of a level's distance to 1 that is left with each hour ahead.
"""
SLOW_KEPT, FAST_KEPT = 1 - SLOW_WEIGHT, 1 - FAST_WEIGHT
LEVEL_EVENTS = 4.0
"""The zone's level weighs as much as so many expected requests."""
LOWEST_LEVEL, HIGHEST_LEVEL = 0.2, 5.0


class ForecasterFailed(RuntimeError):
    """Raised if a forecaster of another package raises. ``name`` is that of its entry point."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(f"the forecaster {name} failed: {type(error).__name__}: {error}")
        self.name = name


class Forecaster(Protocol):
    """Forecasts counts of requests by area. ``close`` is called once for each hour, in order."""

    def close(self, hour: int, counts: Mapping[str, int], total: int) -> None:
        """Learn the counts of an hour that is over. ``counts`` lacks areas without requests. ``total`` is the count of
        the whole zone, which may be less than the sum of ``counts``, because an area may contain other ones.
        """

    def ahead(self, hours: int) -> dict[str, float]:
        """Return the expected count of each known area in one hour: the one that is ``hours`` after the last closed
        hour (1: the next).
        """


@dataclass(slots=True)
class AreaProfile:
    """What the forecaster has learnt about one area, or about the whole zone. ``base`` is the profile. ``share`` is a
    decaying sum of counts. A level has two sums that decay alike: the real requests (``…_seen``) and the expected ones.
    ``slow`` and ``fast`` are the levels that follow from the sums, minus 1.
    """

    base: list[float] = field(default_factory=lambda: [0.0] * WEEK_HOURS)
    share: float = 0.0
    slow_seen: float = 0.0
    slow_expected: float = 0.0
    fast_seen: float = 0.0
    fast_expected: float = 0.0
    slow: float = 0.0
    fast: float = 0.0

    def add_hour(self, count: int, expected: float, zone_slow: float, zone_fast: float) -> None:
        """Add the real and the expected count of an hour to the sums of the levels, and set the levels."""
        self.fast_seen = FAST_KEPT * self.fast_seen + count
        self.fast_expected = FAST_KEPT * self.fast_expected + expected * (1 + self.slow)
        self.slow_seen = SLOW_KEPT * self.slow_seen + count
        self.slow_expected = SLOW_KEPT * self.slow_expected + expected
        self.set_levels(zone_slow, zone_fast)

    def set_levels(self, zone_slow: float, zone_fast: float) -> None:
        """Set the levels that follow from the sums and from the zone's levels."""
        slow = (self.slow_seen + LEVEL_EVENTS * (1 + zone_slow)) / (self.slow_expected + LEVEL_EVENTS)
        fast = (self.fast_seen + LEVEL_EVENTS * (1 + zone_fast)) / (self.fast_expected + LEVEL_EVENTS)
        self.slow = (slow if LOWEST_LEVEL < slow < HIGHEST_LEVEL else _bounded_level(slow)) - 1
        self.fast = (fast if LOWEST_LEVEL < fast < HIGHEST_LEVEL else _bounded_level(fast)) - 1


class ProfileForecaster:
    """The default forecaster."""

    def __init__(self, slots: HourSlots) -> None:
        self.hour = -1
        self.weeks = [0] * WEEK_HOURS
        self.zone = AreaProfile()
        self.areas: dict[str, AreaProfile] = {}
        self.slots = slots

    def close(self, hour: int, counts: Mapping[str, int], total: int) -> None:
        """Learn the counts of an hour that is over."""
        for area in counts:
            if area not in self.areas:
                self.areas[area] = AreaProfile()
        slot, zone = self.slots.slot_of(hour), self.zone
        weeks = self.weeks[slot]
        weight = max(LEAST_WEIGHT, 2 / (weeks + 2))
        zone_expected = self._zone_expected(slot)
        zone.add_hour(total, zone_expected, 0.0, 0.0)
        scale = zone_expected / zone.share if zone.share else 0.0
        for area, profile in self.areas.items():
            count, base = counts.get(area, 0), profile.base
            profile.add_hour(count, _shrink(base[slot], weeks, scale * profile.share), zone.slow, zone.fast)
            base[slot] += weight * (count - base[slot])
            profile.share = SHARE_KEPT * profile.share + count
        zone.base[slot] += weight * (total - zone.base[slot])
        zone.share = SHARE_KEPT * zone.share + total
        self.weeks[slot] = weeks + 1
        self.hour = hour

    def ahead(self, hours: int) -> dict[str, float]:
        """Return the expected count of each known area, ``hours`` after the last closed hour."""
        slow_fade, fast_fade = SLOW_FADE**hours, FAST_FADE**hours
        areas = self.areas
        return {
            area: usual * (1 + (profile := areas[area]).slow * slow_fade) * (1 + profile.fast * fast_fade)
            for area, usual in self.usual(hours).items()
        }

    def usual(self, hours: int) -> dict[str, float]:
        """Return the same as ``ahead``, without levels: what is usual in that hour of the week."""
        slot = self.slots.slot_of(self.hour + hours)
        weeks, scale = self.weeks[slot], self._zone_expected(slot) / self.zone.share if self.zone.share else 0.0
        return {area: _shrink(profile.base[slot], weeks, scale * profile.share) for area, profile in self.areas.items()}

    def set_levels(self) -> None:
        """Set the levels that follow from restored sums."""
        self.zone.set_levels(0.0, 0.0)
        for profile in self.areas.values():
            profile.set_levels(self.zone.slow, self.zone.fast)

    def _zone_expected(self, slot: int) -> float:
        """Return the zone's expected count in a slot, without levels. For a slot without counts, it is that of the same
        hour of other days; without these, the mean of all hours.
        """
        if self.weeks[slot]:
            return self.zone.base[slot]
        seen = [at for at in range(slot % 24, WEEK_HOURS, 24) if self.weeks[at]]
        seen = seen or [at for at in range(WEEK_HOURS) if self.weeks[at]]
        return sum(self.zone.base[at] for at in seen) / len(seen) if seen else 0.0


def _shrink(base: float, weeks: int, prior: float) -> float:
    """Return the weighted mean of an area's own profile, known from ``weeks`` weeks, and of ``prior``, which is the
    zone's profile times the area's share.
    """
    prior_weeks = PRIOR_EVENTS / prior if prior * PRIOR_WEEKS > PRIOR_EVENTS else PRIOR_WEEKS
    return (weeks * base + prior_weeks * prior) / (weeks + prior_weeks)


def _bounded_level(level: float) -> float:
    return min(max(level, LOWEST_LEVEL), HIGHEST_LEVEL)
