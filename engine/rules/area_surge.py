"""The demand multipliers of a zone's areas, which follow engine/rules/surge.py from look to look."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.rules.pulse import AreaPulse
from engine.rules.surge import HALF_LIFE_MS, NEUTRAL, AreaLook, DemandTable, SurgeState, next_surge

HOUR_MS = 3_600_000
SETTLED_HOURS = HALF_LIFE_MS / 0.693147 / HOUR_MS
"""A decayed sum of a steady rate is the rate times this."""
LEAST_REQUESTS = 1.0
"""An area with a neutral multiplier and fewer recent requests, without a waiting job, is not looked at: it cannot rise,
and most areas are such most of the time."""
HourlyCounts = Mapping[int, Mapping[str, int]]


class AreaSurge:
    """The multipliers of the areas of one kind. ``tables`` has the demand table of each blueprint that has one;
    ``neighbours`` returns the areas around an area.
    """

    def __init__(self, neighbours: Callable[[str], list[str]], tables: Mapping[str, DemandTable] | None = None) -> None:
        self.tables = tables or {}
        self._neighbours = neighbours
        self._states: dict[str, dict[str, SurgeState]] = {}
        self._seen: HourlyCounts | None = None
        self._at = 0

    def restore(self, pulses: Mapping[str, AreaPulse]) -> None:
        """Go on from the states in stored pulses."""
        self._states = {area: dict(pulse.surge) for area, pulse in pulses.items() if pulse.surge}

    def look(self, pulses: Mapping[str, AreaPulse], counts: HourlyCounts, at_ms: int) -> None:
        """Set the multipliers of ``pulses`` at a time. ``counts`` has the requests of the hours that may have changed
        since the last look.
        """
        new = self._new_requests(counts)
        elapsed = max(0, at_ms - self._at) / HOUR_MS if self._at else 0.0
        self._at = at_ms
        looks = {
            area: AreaLook(new.get(area, 0), pulse.usual * elapsed, pulse.waiting, pulse.free)
            for area, pulse in pulses.items()
        }
        busy = {area for area, look in looks.items() if look.requests or look.waiting} | self._states.keys()
        for area in sorted(busy & looks.keys()):
            around = [looks[each] for each in self._neighbours(area) if each in looks]
            look, pulse, before = looks[area].with_neighbours(around), pulses[area], self._states.get(area, {})
            usual = look.usual / elapsed if elapsed else pulse.usual
            states = {}
            for blueprint, table in self.tables.items():
                state = next_surge(before.get(blueprint) or _settled(usual, look, at_ms), table, look, at_ms)
                if state.multiplier != NEUTRAL or state.requests >= LEAST_REQUESTS or look.waiting:
                    states[blueprint] = state
            self._states[area] = states
            pulse.surge = states
            pulse.multipliers = {name: each.multiplier for name, each in states.items() if each.multiplier != NEUTRAL}
        self._states = {area: states for area, states in self._states.items() if states}

    def _new_requests(self, counts: HourlyCounts) -> dict[str, int]:
        """Return the requests since the last look, by area; none at the first look."""
        seen, self._seen = self._seen, {hour: dict(areas) for hour, areas in counts.items()}
        found: dict[str, int] = {}
        for hour, areas in counts.items() if seen is not None else ():
            for area, count in areas.items():
                more = count - (seen or {}).get(hour, {}).get(area, 0)
                if more > 0:
                    found[area] = found.get(area, 0) + more
        return found


def _settled(usual_an_hour: float, look: AreaLook, at_ms: int) -> SurgeState:
    """Return the state of an area in which all was as usual until now."""
    sums = usual_an_hour * SETTLED_HOURS
    return SurgeState(at=at_ms, requests=sums, usual=sums, waiting=look.waiting, free=look.free)
