"""The demand multipliers of a zone's areas. Each look changes them by the rule of engine/rules/surge.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from engine.rules.pulse import AreaPulse
from engine.rules.surge import HALF_LIFE_MS, NEIGHBOUR_WEIGHT, NEUTRAL, AreaLook, DemandTable, SurgeState, next_surge

HOUR_MS = 3_600_000
SETTLED_HOURS = HALF_LIFE_MS / 0.693147 / HOUR_MS
"""The decayed sum of a steady rate (per hour) settles at the rate times this number of hours."""
WATCHED_SHARE = 0.5
"""A rise needs ``least`` recent requests and waiting jobs. A look computes only areas that have at least this share of
``least``, and those whose multiplier, or a neighbour's, is not neutral. Most areas are skipped most of the time."""
LEAST_RECENT = 0.05
"""A smaller decayed sum of requests is dropped."""
HourlyCounts = Mapping[int, Mapping[str, int]]
"""Counts of requests by hour and area."""


class AreaSurge:
    """The multipliers of the areas of one kind. ``tables`` has the demand table of each blueprint that has one;
    ``neighbours`` returns the areas around an area.
    """

    def __init__(self, neighbours: Callable[[str], list[str]], tables: Mapping[str, DemandTable] | None = None) -> None:
        self.tables = tables or {}
        self._neighbours = neighbours
        self._states: dict[str, dict[str, SurgeState]] = {}
        """The state of each area that was looked at, for each blueprint."""
        self._recent: dict[str, float] = {}
        """The decayed sums of requests, by area."""
        self._seen: HourlyCounts | None = None
        self._at = 0

    def restore(self, pulses: Mapping[str, AreaPulse]) -> None:
        """Continue from the states in stored pulses."""
        self._states = {area: dict(pulse.surge) for area, pulse in pulses.items() if pulse.surge}

    def look(self, pulses: dict[str, AreaPulse], counts: HourlyCounts, at_ms: int) -> None:
        """Compute the multipliers at ``at_ms`` and set them in ``pulses``. ``counts`` has the requests of the hours
        whose counts may have changed since the last look; the caller does not change it later. An area that is computed
        gets a new ``AreaPulse``; the old object does not change.
        """
        new, recent = self._new_requests(counts), self._recent
        elapsed_ms = max(0, at_ms - self._at) if self._at else 0
        self._at, kept, elapsed = at_ms, 0.5 ** (elapsed_ms / HALF_LIFE_MS), elapsed_ms / HOUR_MS
        self._recent = {area: left for area, value in recent.items() if (left := value * kept) >= LEAST_RECENT}
        for area, count in new.items():
            self._recent[area] = self._recent.get(area, 0.0) + count

        def look_at(area: str) -> AreaLook:
            pulse = pulses[area]
            return AreaLook(new.get(area, 0), pulse.usual * elapsed, pulse.waiting, pulse.free)

        watched: dict[str, dict[str, SurgeState]] = {}
        for area in sorted(self._watched(pulses) & pulses.keys()) if self.tables else ():
            around = [each for each in self._neighbours(area) if each in pulses]
            look = look_at(area).with_neighbours(look_at(each) for each in around)
            pulse, before = pulses[area], self._states.get(area, {})
            begin = SurgeState(
                at=at_ms - elapsed_ms,
                requests=recent.get(area, 0.0) + NEIGHBOUR_WEIGHT * sum(recent.get(each, 0.0) for each in around),
                usual=SETTLED_HOURS * (pulse.usual + NEIGHBOUR_WEIGHT * sum(pulses[each].usual for each in around)),
                waiting=look.waiting,
                free=look.free,
            )
            states = {
                name: next_surge(before.get(name, begin), table, look, at_ms) for name, table in self.tables.items()
            }
            moved = {name: state.multiplier for name, state in states.items() if state.multiplier != NEUTRAL}
            watched[area] = states
            pulses[area] = replace(pulse, surge=states, multipliers=moved)
        self._states = watched

    def _watched(self, pulses: Mapping[str, AreaPulse]) -> set[str]:
        least = WATCHED_SHARE * min(table.least for table in self.tables.values())
        waiting = {area: pulse.waiting for area, pulse in pulses.items() if pulse.waiting}
        may_rise = {area for area in waiting if waiting[area] + self._recent.get(area, 0.0) >= least}
        may_rise.update(area for area, value in self._recent.items() if value >= least)
        moved = {
            area
            for area, states in self._states.items()
            if any(state.multiplier != NEUTRAL for state in states.values())
        }
        return may_rise | moved | {each for area in moved for each in self._neighbours(area)}

    def _new_requests(self, counts: HourlyCounts) -> dict[str, int]:
        """Return the requests since the last look, by area; none at the first look."""
        seen, self._seen = self._seen, counts
        found: dict[str, int] = {}
        for hour, areas in counts.items() if seen is not None else ():
            before = (seen or {}).get(hour, {})
            for area, count in sorted(areas.items() - before.items()):
                more = count - before.get(area, 0)
                if more > 0:
                    found[area] = found.get(area, 0) + more
        return found
