"""The demand of a zone by area of one kind: the forecast, and the pulse that follows from it and from who is there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from engine.rules import cells
from engine.rules.demand_forecast import HORIZONS, Ahead, DemandForecast
from engine.rules.demand_state import AreaState, ZoneState, area_states, restore, zone_state
from engine.rules.hour_slots import HOUR_MS, HourSlots, hour_of
from engine.rules.pulse import AreaKind, AreaPulse, HourAhead, cell_ring, lineage_of

MAX_HOURS_BEHIND = 5
"""If the archive is so many hours behind, the forecast does not reach to now."""
FREED_SHARE = 0.5
"""The share of busy technicians who become free within an hour. Jobs take between half an hour and some hours."""

_lineage = lru_cache(65_536)(lineage_of)


class AreaSupply(NamedTuple):
    """What is in an area now: jobs that wait for a technician, and technicians who are free or busy."""

    waiting: int = 0
    free: int = 0
    busy: int = 0


class ZoneDemand:
    """The demand of a zone by cells or by postal codes. ``hour`` is the last hour that was learnt."""

    def __init__(self, kind: AreaKind, slots: HourSlots, first_hour: int) -> None:
        self.kind = kind
        self.first_hour = first_hour
        self.forecast = DemandForecast(slots)
        self.forecast.hour = first_hour - 1
        self.samples: dict[str, int] = {}
        """The requests of the last four weeks, by area."""
        self._ahead: dict[int, dict[str, Ahead]] = {}
        self._usual: dict[int, dict[str, float]] = {}

    @property
    def hour(self) -> int:
        """The last hour that was learnt."""
        return self.forecast.hour

    def close(self, hour: int, counts: Mapping[str, int]) -> None:
        """Learn the requests of an hour that is over."""
        before = self.forecast.history.oldest(hour)
        everywhere = self.with_parents(counts)
        self.forecast.close(hour, everywhere, sum(counts.values()))
        self._count_sample(everywhere, before)
        self._ahead, self._usual = {}, {}

    def states(self) -> tuple[ZoneState, Iterable[tuple[str, AreaState]]]:
        """Return what was learnt, to be stored."""
        return zone_state(self.forecast, self.first_hour), area_states(self.forecast)

    def restore(
        self, zone: ZoneState, areas: Mapping[str, AreaState], history: Mapping[int, Mapping[str, int]]
    ) -> None:
        """Go on from what was stored. ``history`` has the counts of the last weeks."""
        restore(self.forecast, zone, areas)
        first = max(self.first_hour, self.forecast.history.first_kept(zone.hour))
        for hour in range(first, zone.hour + 1):
            everywhere = self.with_parents(history.get(hour, {}))
            self.forecast.history.close(hour, everywhere, 0)
            self._count_sample(everywhere, {})

    def look(self, at_ms: int, running: Mapping[str, int], supply: Mapping[str, AreaSupply]) -> dict[str, AreaPulse]:
        """Return the pulse of each area at a time. ``running`` has the requests of the running hour, ``supply`` what is
        there, both without parents of cells. Nothing is returned if the forecast does not reach to now.
        """
        ahead_hours = hour_of(at_ms) - self.hour
        if not 1 <= ahead_hours <= MAX_HOURS_BEHIND:
            return {}
        self._ahead = self._ahead or self.forecast.ahead()
        elapsed = at_ms % HOUR_MS / HOUR_MS
        usual = [self._usual_of(ahead_hours + more) for more in (0, 1)]
        present, now = self._supply_with_parents(supply), self.with_parents(running)
        profiles, needs, found = self.forecast.profile.areas, {}, {}
        zone_share = self.forecast.profile.zone.share or 1.0
        for area in profiles.keys() | now.keys():
            hours = ((h, self._ahead[h].get(area)) for h in HORIZONS)
            arrivals = self._mean(ahead_hours, area) * (1 - elapsed) + self._mean(ahead_hours + 1, area) * elapsed
            as_usual = usual[0].get(area, 0.0) * (1 - elapsed) + usual[1].get(area, 0.0) * elapsed
            here = present.get(area, AreaSupply())
            freed = FREED_SHARE * here.busy
            needs[area] = here.waiting + arrivals - here.free - freed
            found[area] = AreaPulse(
                lift=round(arrivals / as_usual, 2) if as_usual > 0 else 1.0,
                share=round(profiles[area].share / zone_share, 4) if area in profiles else 0.0,
                now=now.get(area, 0),
                waiting=here.waiting,
                free=here.free,
                arrivals=round(arrivals, 2),
                freed=freed,
                usual=round(as_usual, 2),
                ahead=tuple(HourAhead(h, round(each.mean, 2), each.p10, each.p90) for h, each in hours if each),
                sample=self.samples.get(area, 0),
            )
        for area, score in self._scores(needs).items():
            found[area].score = score
        return found

    def neighbours(self, area: str) -> list[str]:
        """Return the areas around a cell; a postal code has none."""
        return cell_ring(area) if self.kind == "cell" else []

    def with_parents(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Return counts with those of the parents of cells."""
        if self.kind != "cell":
            return counts
        sums: dict[str, int] = {}
        for area, count in counts.items():
            for each in _lineage(area):
                sums[each] = sums.get(each, 0) + count
        return sums

    def _supply_with_parents(self, supply: Mapping[str, AreaSupply]) -> Mapping[str, AreaSupply]:
        if self.kind != "cell":
            return supply
        sums: dict[str, AreaSupply] = {}
        for area, here in supply.items():
            for each in _lineage(area):
                before = sums.get(each, AreaSupply())
                sums[each] = AreaSupply(*(a + b for a, b in zip(before, here, strict=True)))
        return sums

    def _count_sample(self, counts: Mapping[str, int], forgotten: Mapping[str, int]) -> None:
        for area, count in counts.items():
            self.samples[area] = self.samples.get(area, 0) + count
        for area, count in forgotten.items():
            self.samples[area] -= count

    def _mean(self, hours: int, area: str) -> float:
        found = self._ahead[hours].get(area)
        return found.mean if found else 0.0

    def _usual_of(self, hours: int) -> dict[str, float]:
        if hours not in self._usual:
            self._usual[hours] = self.forecast.profile.usual(hours)
        return self._usual[hours]

    def _scores(self, needs: Mapping[str, float]) -> dict[str, float]:
        """Return the rank of each area among those of its size, from 0 (the least needed) to 100. Equals have the same
        rank.
        """
        groups: dict[int, list[str]] = {}
        for area in needs:
            groups.setdefault(_size(area) if self.kind == "cell" else 0, []).append(area)
        scores = {}
        for areas in groups.values():
            ordered = sorted(needs[area] for area in areas)
            for area in areas:
                middle = (bisect_left(ordered, needs[area]) + bisect_right(ordered, needs[area]) - 1) / 2
                scores[area] = round(100 * middle / (len(ordered) - 1), 1) if len(ordered) > 1 else 50.0
        return scores


@lru_cache(65_536)
def _size(cell: str) -> int:
    return int(cells.load_library().get_resolution(int(cell, 16)))
