"""Forecasts of requests by area: an hour-of-week profile, and two levels that follow what happens now.

The expected count of an area in an hour is ``profile x slow level x fast level``. The profile of an area is a moving
average of its counts in each hour of the week, shrunk to the zone's profile times the area's share. A level is the
ratio of what came to what was expected, over the last days (slow) or the last hours (fast), shrunk to the zone's level.
A level of the future fades to 1.

The rules are pure: the same counts give the same numbers, bit by bit, on every machine with IEEE 754. The constants are
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
"""The zone's profile weighs as much as the weeks in which it expects so many requests in the slot, but at most so many
weeks. A fixed number of weeks was worse than no forecast in a city of three weeks."""
SHARE_KEPT = 0.999
"""How much of an area's share is kept each hour: half of it is 29 days old."""
SLOW_WEIGHT, SLOW_FADE = 0.01, 0.997
FAST_WEIGHT, FAST_FADE = 0.4, 0.7
"""The weight of the newest hour in a level, and how much of a level is left with each hour ahead."""
LEVEL_EVENTS = 4.0
"""The zone's level weighs as much as so many expected requests."""
LOWEST_LEVEL, HIGHEST_LEVEL = 0.2, 5.0


class Forecaster(Protocol):
    """Expects counts. It is given each hour once, in order."""

    def close(self, hour: int, counts: Mapping[str, int], total: int) -> None:
        """Learn the counts of an hour that is over. ``counts`` lacks areas without requests. ``total`` is the zone's
        count: ``counts`` may contain areas that contain others.
        """

    def expected(self, hours: int) -> dict[str, float]:
        """Return the expected count of each known area in the hour that begins ``hours - 1`` after the last closed
        hour.
        """


@dataclass(slots=True)
class AreaProfile:
    """What is known of one area, or of the whole zone. A level has two sums that decay alike: what came and what was
    expected.
    """

    base: list[float] = field(default_factory=lambda: [0.0] * WEEK_HOURS)
    share: float = 0.0
    slow_seen: float = 0.0
    slow_expected: float = 0.0
    fast_seen: float = 0.0
    fast_expected: float = 0.0


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
        slot = self.slots.slot_of(hour)
        weeks = self.weeks[slot]
        weight = max(LEAST_WEIGHT, 2 / (weeks + 2))
        zone_expected = self._zone_expected(slot)
        zone_levels = _note_levels(self.zone, total, zone_expected, (1.0, 1.0))
        share_of_one = 1 / self.zone.share if self.zone.share else 0.0
        for area, profile in self.areas.items():
            count = counts.get(area, 0)
            expected = _shrink(profile.base[slot], weeks, zone_expected * profile.share * share_of_one)
            _note_levels(profile, count, expected, zone_levels)
            profile.base[slot] += weight * (count - profile.base[slot])
            profile.share = SHARE_KEPT * profile.share + count
        self.zone.base[slot] += weight * (total - self.zone.base[slot])
        self.zone.share = SHARE_KEPT * self.zone.share + total
        self.weeks[slot] = weeks + 1
        self.hour = hour

    def expected(self, hours: int) -> dict[str, float]:
        """Return the expected count of each known area, ``hours`` after the last closed hour."""
        slot = self.slots.slot_of(self.hour + hours)
        weeks = self.weeks[slot]
        slow_fade, fast_fade = SLOW_FADE**hours, FAST_FADE**hours
        slow, fast = _levels(self.zone, (1.0, 1.0))
        share_of_one = self._zone_expected(slot) / self.zone.share if self.zone.share else 0.0
        found = {}
        for area, profile in self.areas.items():
            own_slow, own_fast = _levels(profile, (slow, fast))
            base = _shrink(profile.base[slot], weeks, share_of_one * profile.share)
            found[area] = base * (1 + (own_slow - 1) * slow_fade) * (1 + (own_fast - 1) * fast_fade)
        return found

    def usual(self, hours: int) -> dict[str, float]:
        """Return the same as ``expected`` without levels: what is usual in that hour of the week."""
        slot = self.slots.slot_of(self.hour + hours)
        weeks, share_of_one = self.weeks[slot], self._zone_expected(slot) / self.zone.share if self.zone.share else 0.0
        return {
            area: _shrink(profile.base[slot], weeks, share_of_one * profile.share)
            for area, profile in self.areas.items()
        }

    def _zone_expected(self, slot: int) -> float:
        """Return the zone's expected count in a slot, without levels. A slot that has not been seen yet is expected to
        be as the same hour of other days, or else as the mean of all hours.
        """
        if self.weeks[slot]:
            return self.zone.base[slot]
        seen = [at for at in range(slot % 24, WEEK_HOURS, 24) if self.weeks[at]]
        seen = seen or [at for at in range(WEEK_HOURS) if self.weeks[at]]
        return sum(self.zone.base[at] for at in seen) / len(seen) if seen else 0.0


def _shrink(base: float, weeks: int, prior: float) -> float:
    """Return the mean of an area's own profile, seen in ``weeks``, and of ``prior``."""
    prior_weeks = PRIOR_EVENTS / prior if prior * PRIOR_WEEKS > PRIOR_EVENTS else PRIOR_WEEKS
    return (weeks * base + prior_weeks * prior) / (weeks + prior_weeks)


def _levels(profile: AreaProfile, zone_levels: tuple[float, float]) -> tuple[float, float]:
    """Return the slow and the fast level, shrunk to the zone's."""
    slow, fast = zone_levels
    slow = (profile.slow_seen + LEVEL_EVENTS * slow) / (profile.slow_expected + LEVEL_EVENTS)
    fast = (profile.fast_seen + LEVEL_EVENTS * fast) / (profile.fast_expected + LEVEL_EVENTS)
    return min(max(slow, LOWEST_LEVEL), HIGHEST_LEVEL), min(max(fast, LOWEST_LEVEL), HIGHEST_LEVEL)


def _note_levels(
    profile: AreaProfile, count: int, expected: float, zone_levels: tuple[float, float]
) -> tuple[float, float]:
    """Note what came and what was expected in the levels. Return the new levels."""
    slow, _ = _levels(profile, zone_levels)
    profile.fast_seen = (1 - FAST_WEIGHT) * profile.fast_seen + count
    profile.fast_expected = (1 - FAST_WEIGHT) * profile.fast_expected + expected * slow
    profile.slow_seen = (1 - SLOW_WEIGHT) * profile.slow_seen + count
    profile.slow_expected = (1 - SLOW_WEIGHT) * profile.slow_expected + expected
    return _levels(profile, zone_levels)
