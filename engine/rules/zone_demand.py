"""The demand of a zone by areas of one kind. The pulse is computed from the forecast and from the jobs and technicians
that are in the areas now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace

from engine.rules import cells
from engine.rules.demand_forecast import HORIZONS, DemandForecast, HourForecast
from engine.rules.demand_state import AreaState, ZoneState, area_states, restore, zone_state
from engine.rules.forecast import Forecaster
from engine.rules.hour_slots import HOUR_MS, WEEK_HOURS, HourSlots, hour_of
from engine.rules.pulse import (
    CELL_RESOLUTION,
    COARSEST_RESOLUTION,
    AreaKind,
    AreaPulse,
    HourAhead,
    cell_ring,
    lineage_of,
)

MAX_HOURS_BEHIND = 5
"""If the archive is more hours behind, the forecast does not reach the present hour."""
FREED_SHARE = 0.5
"""The assumed share of busy technicians who become free within an hour. Jobs take between half an hour and some hours.
"""

LEARNT_AGAIN_HOURS = 12 * WEEK_HOURS
"""How many past hours the forecasters of other packages learn again after a restart."""

STEP_MS = 600_000
"""How often the expected requests of the coming hour are computed."""


class AreaSupply(NamedTuple):
    """The jobs that wait for a technician in an area now, and the free and busy technicians there."""

    waiting: int = 0
    free: int = 0
    busy: int = 0


class ZoneDemand:
    """The demand of a zone by cells or by postal codes. ``hour`` is the last hour that was learnt."""

    def __init__(
        self, kind: AreaKind, slots: HourSlots, first_hour: int, others: Mapping[str, Forecaster] | None = None
    ) -> None:
        self.kind = kind
        self.first_hour = first_hour
        self.forecast = DemandForecast(slots, others=others)
        self.forecast.hour = first_hour - 1
        self.samples: dict[str, int] = {}
        """The requests of the last four weeks, by area."""
        self._ahead: dict[int, dict[str, HourForecast]] = {}
        self._usual: dict[int, dict[str, float]] = {}
        self._hours_ahead: dict[str, tuple[HourAhead, ...]] = {}
        self._expected: dict[str, AreaPulse] = {}
        self._pulses: dict[str, AreaPulse] = {}
        """The pulses of the last look, and in the next two members what was there then."""
        self._needs: dict[int, dict[str, float]] = {}
        """How much technicians are needed in each area, by the size of areas."""
        self._running: Mapping[str, int] = {}
        self._supply: Mapping[str, AreaSupply] = {}
        self._step = -1

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
        self._ahead, self._usual, self._step = {}, {}, -1

    def states(self) -> tuple[ZoneState, Iterable[tuple[str, AreaState]]]:
        """Return the learnt state, which the caller stores."""
        return zone_state(self.forecast, self.first_hour), area_states(self.forecast)

    def restore(
        self, zone: ZoneState, areas: Mapping[str, AreaState], history: Mapping[int, Mapping[str, int]]
    ) -> None:
        """Continue from the stored state. ``history`` has the counts from the hour ``first_needed`` on."""
        restore(self.forecast, zone, areas)
        first_kept = self.forecast.history.first_kept(zone.hour)
        for hour in range(max(self.first_hour, self.first_needed(zone.hour)), zone.hour + 1):
            counts = history.get(hour, {})
            everywhere = self.with_parents(counts)
            self.forecast.learn_again(hour, everywhere, sum(counts.values()))
            if hour >= first_kept:
                self.forecast.history.close(hour, everywhere, 0)
                self._count_sample(everywhere, {})

    def first_needed(self, last_hour: int) -> int:
        """Return the first hour whose counts are needed to continue from the state stored after ``last_hour``."""
        first_kept = self.forecast.history.first_kept(last_hour)
        has_others = len(self.forecast.forecasters) > 1
        return min(first_kept, last_hour + 1 - LEARNT_AGAIN_HOURS) if has_others else first_kept

    def look(self, at_ms: int, running: Mapping[str, int], supply: Mapping[str, AreaSupply]) -> dict[str, AreaPulse]:
        """Return the pulse of each area at ``at_ms``. ``running`` has the requests of the running hour, as
        ``with_parents`` returns them; ``supply`` has the jobs and technicians that are there now, without the parents
        of cells. The result is empty if the forecast does not reach the present hour. An area in which nothing but the
        score changes is the same object as at the last look.
        """
        if not 1 <= hour_of(at_ms) - self.hour <= MAX_HOURS_BEHIND:
            return {}
        self._expect(at_ms)
        everywhere, nothing, unknown = self._supply_with_parents(supply), AreaSupply(), AreaPulse()
        changed = {area for area, _ in running.items() ^ self._running.items()}
        changed.update(area for area, _ in everywhere.items() ^ self._supply.items())
        for area in changed:
            pulse = self._expected.get(area)
            if pulse is None and area not in running:  # nothing was requested in this area
                self._drop(area)
                continue
            waiting, free, busy = everywhere.get(area, nothing)
            here = {"now": running.get(area, 0), "waiting": waiting, "free": free, "freed": FREED_SHARE * busy}
            self._put(area, replace(pulse or unknown, **here))
        self._running, self._supply = running, everywhere
        self._set_scores()
        return dict(self._pulses)

    def _put(self, area: str, pulse: AreaPulse) -> None:
        self._pulses[area] = pulse
        of_size = self._needs.setdefault(self._size_of(area), {})
        of_size[area] = pulse.waiting + pulse.arrivals - pulse.free - pulse.freed

    def _drop(self, area: str) -> None:
        if self._pulses.pop(area, None) is not None:
            del self._needs[self._size_of(area)][area]

    def _size_of(self, area: str) -> int:
        return _size(area) if self.kind == "cell" else 0

    def _expect(self, at_ms: int) -> None:
        """Compute the expected requests of the hour that starts with the present step, unless they are already
        computed.
        """
        step = at_ms // STEP_MS
        if step == self._step:
            return
        self._step, elapsed = step, step * STEP_MS % HOUR_MS / HOUR_MS
        hours = hour_of(at_ms) - self.hour
        if not self._ahead:
            self._ahead = self.forecast.ahead()
            self._hours_ahead = {area: self._list_hours(area) for area in self.forecast.profile.areas}
        means = self._ahead[hours], self._ahead[hours + 1]
        usual = self._usual_of(hours), self._usual_of(hours + 1)
        zone_share, none = self.forecast.profile.zone.share or 1.0, HourForecast(0.0, 0, 0)
        self._expected = {}
        for area, profile in self.forecast.profile.areas.items():
            first, second = means[0].get(area, none).mean, means[1].get(area, none).mean
            arrivals = first + (second - first) * elapsed
            as_usual = usual[0][area] + (usual[1][area] - usual[0][area]) * elapsed
            self._expected[area] = AreaPulse(
                lift=round(arrivals / as_usual, 2) if as_usual > 0 else 1.0,
                share=round(profile.share / zone_share, 4),
                arrivals=round(arrivals, 2),
                usual=round(as_usual, 2),
                ahead=self._hours_ahead[area],
                sample=self.samples.get(area, 0),
            )
        self._pulses, self._needs, self._running, self._supply = {}, {}, {}, {}
        for area, pulse in self._expected.items():
            self._put(area, pulse)

    def _list_hours(self, area: str) -> tuple[HourAhead, ...]:
        found = ((h, self._ahead[h].get(area)) for h in HORIZONS)
        return tuple(HourAhead(h, round(each.mean, 2), each.p10, each.p90) for h, each in found if each)

    def _usual_of(self, hours: int) -> dict[str, float]:
        if hours not in self._usual:
            self._usual[hours] = self.forecast.profile.usual(hours)
        return self._usual[hours]

    def neighbours(self, area: str) -> list[str]:
        """Return the areas around a cell; a postal code has none."""
        return cell_ring(area) if self.kind == "cell" else []

    def with_parents(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Return counts in which each parent of a cell has the sum of its cells."""
        if self.kind != "cell":
            return counts
        sums, level = dict(counts), counts
        for _ in range(COARSEST_RESOLUTION, CELL_RESOLUTION):
            above: dict[str, int] = {}
            for area, count in level.items():
                parent = lineage_of(area)[1]
                above[parent] = above.get(parent, 0) + count
            sums.update(above)
            level = above
        return sums

    def _supply_with_parents(self, supply: Mapping[str, AreaSupply]) -> Mapping[str, AreaSupply]:
        if self.kind != "cell":
            return supply
        sums, level = dict(supply), supply
        for _ in range(COARSEST_RESOLUTION, CELL_RESOLUTION):
            rows: dict[str, list[int]] = {}
            for area, (waiting, free, busy) in level.items():
                row = rows.setdefault(lineage_of(area)[1], [0, 0, 0])
                row[0] += waiting
                row[1] += free
                row[2] += busy
            level = {area: AreaSupply(*row) for area, row in rows.items()}
            sums.update(level)
        return sums

    def _count_sample(self, counts: Mapping[str, int], forgotten: Mapping[str, int]) -> None:
        for area, count in counts.items():
            self.samples[area] = self.samples.get(area, 0) + count
        for area, count in forgotten.items():
            self.samples[area] -= count

    def _set_scores(self) -> None:
        """Set the score of each area: its rank among areas of its size, from 0 (technicians are needed least) to 100.
        Areas with the same need have the same score.
        """
        for needs in self._needs.values():
            ranks, first, last = dict[float, float](), 0, len(needs) - 1
            for need, count in Counter(sorted(needs.values())).items():
                middle = first + (count - 1) / 2
                ranks[need] = float(round(100 * middle / last)) if last else 50.0
                first += count
            for area, need in needs.items():
                self._pulses[area].score = ranks[need]


@lru_cache(65_536)
def _size(cell: str) -> int:
    return int(cells.load_library().get_resolution(int(cell, 16)))
