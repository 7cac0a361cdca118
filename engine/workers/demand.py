"""The chore of demand, a background task: learn the hours that are over, and write the pulse of each area to Redis once
a minute.

The process that holds a lease does the chore for a zone. Two processes at the same time do no harm: what a process
learns depends only on the counts in SQL, and the script that writes the pulse refuses a pulse that is older than the
stored one. An hour is learnt when all its events are archived: the archive has reached the head that the log had after
the hour's end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import structlog

from engine.archive import demand_models, demand_reader, reader
from engine.archive.demand_projection import CELL
from engine.domain import demand_pulse, demand_supply
from engine.domain.demand_pulse import ChangedArea, PublishedDemand
from engine.domain.demand_supply import SupplyCounter
from engine.errors import CalloutError
from engine.events import rfc3339_of
from engine.process.loops import not_cancelled
from engine.rules.area_surge import AreaSurge
from engine.rules.forecast import ForecasterFailed
from engine.rules.forecasters import create_forecasters
from engine.rules.hour_slots import WEEK_HOURS, HourSlots, hour_of
from engine.rules.pulse import AREA_KINDS, AreaKind, AreaPulse, is_smallest
from engine.rules.surge import NEUTRAL, DemandTable
from engine.rules.zone_areas import timezone_of
from engine.rules.zone_demand import ZoneDemand
from engine.store import keys
from engine.store.acknowledgement import without_acknowledgement
from engine.types import Zone
from engine.zone.leases import Leases

if TYPE_CHECKING:
    from engine.runtime import Engine

INTERVAL_S = 60.0
FIRST_INTERVAL_S = 10.0
"""The interval of looks at a zone for which this process has no demand yet. It is short, so that the first requests are
soon on the map.
"""
LEASE_S = 90.0
STORE_EVERY_HOURS = 24
"""How often the learnt state is stored in SQL. After a restart, at most this many hours are learnt again."""
HOURS_PER_READ = WEEK_HOURS

_ShownAreas = Mapping[str, ChangedArea]

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Do the chore for every zone whose lease this process holds, until cancelled. Retries after failures."""
    leases = Leases(engine.store, "demand", LEASE_S)
    chores = {zone: ZoneChore(engine, zone) for zone in engine.settings.zones}
    with without_acknowledgement():
        try:
            while not_cancelled():
                for zone, chore in chores.items():
                    if chore.is_due():
                        await _run_zone(leases, zone, chore)
                await asyncio.sleep(FIRST_INTERVAL_S)
        finally:
            await leases.release_all()


async def _run_zone(leases: Leases, zone: Zone, chore: ZoneChore) -> None:
    try:
        if await leases.holds_lease(zone):
            await chore.look()
        else:
            chore.forget()
    except CalloutError as error:
        log.info("demand_waits", zone=zone, error=str(error))
        chore.forget()
    except Exception:  # a task boundary
        log.exception("demand_failed", zone=zone)
        chore.forget()


async def run_once(engine: Engine, zone: Zone) -> None:
    """Do the chore of a zone once, without state from earlier runs. All errors are raised."""
    await ZoneChore(engine, zone).look()


class ZoneChore:
    """The chore of one zone. ``demands`` has the forecasts by kind of area while this process does the chore."""

    def __init__(self, engine: Engine, zone: Zone) -> None:
        self.demands: dict[AreaKind, ZoneDemand] = {}
        self._engine = engine
        self._zone = zone
        self._timezone = timezone_of(engine.settings.zone_areas, zone)
        self._surges: dict[AreaKind, AreaSurge] = {}
        self._written: dict[AreaKind, dict[str, tuple[AreaPulse, float]]] = {}
        """The pulse and the score of each area as last written. The score is stored beside the pulse, because an area
        in which only the score changes keeps its pulse object.
        """
        self._shown: dict[AreaKind, dict[str, ChangedArea]] = {}
        """What consoles know of each area."""
        self._last_hours: dict[AreaKind, int] = {}
        """The last hour of which counts were read. The next read begins with it, because its counts may have changed
        since.
        """
        self._stored_hours: dict[AreaKind, int] = {}
        self._supply = SupplyCounter(engine, zone)
        self._failed: set[str] = set()
        """The forecasters of other packages that raised an error in this process. The process does not use them any
        more.
        """
        self._hour_begun = (-1, 0)
        """The newest hour of which this process saw the beginning, and the head of the log at that moment."""
        self._next_look_s = 0.0

    def is_due(self) -> bool:
        """Return whether it is time for the next look."""
        return not self.demands or time.monotonic() >= self._next_look_s

    def forget(self) -> None:
        """Drop the state of this process, because another process may do the chore meanwhile."""
        self.demands.clear()
        self._surges.clear()
        self._written.clear()

    async def look(self) -> None:
        """Learn the hours that are over, and write the pulse. If a forecaster of another package raises, do both
        without it. Raises the same errors as ``Store.run``, and Unavailable.
        """
        self._next_look_s = time.monotonic() + INTERVAL_S
        while True:
            try:
                return await self._look()
            except ForecasterFailed as failure:
                log.exception("demand_forecaster_failed", zone=self._zone, forecaster=failure.name)
                self._engine.metrics.forecasters_failed.labels(failure.name).inc()
                self._failed.add(failure.name)
                self.forget()  # the state of the other forecasters is loaded from SQL again

    async def _look(self) -> None:
        archive, zone = self._engine.archive, self._zone
        if not self.demands and await demand_reader.first_hour(archive, zone, CELL) is None:
            return  # there were no requests in this zone yet
        await demand_supply.load_cells()
        now, last_hour = await self._last_archived_hour()
        places = await self._supply.count(now)
        for kind in AREA_KINDS:
            demand = self.demands.get(kind) or await self._load(kind)
            if demand is not None:
                await self._learn(demand, last_hour)
                await self._write_pulse(demand, now, places.by_kind(kind))

    async def _last_archived_hour(self) -> tuple[int, int]:
        """Return the zone's time (ms), and the last hour of which SQL has every event."""
        row = await self._engine.store.command("HMGET", keys.zone_meta(self._zone), "now", "seq")
        now, head = (int(value or 0) for value in row)
        if hour_of(now) > self._hour_begun[0]:
            self._hour_begun = hour_of(now), head
        hour, head_then = self._hour_begun
        checkpoint = await reader.checkpoint(self._engine.archive, self._zone)
        is_archived = (checkpoint.seq if checkpoint else 0) >= head_then
        return now, hour - 1 if is_archived else hour - 2

    async def _load(self, kind: AreaKind) -> ZoneDemand | None:
        """Return the demand of a kind of area with its stored state. None if nothing was requested in the zone yet."""
        archive, zone = self._engine.archive, self._zone
        first = await demand_reader.first_hour(archive, zone, kind)
        if first is None:
            return None
        slots = HourSlots(self._timezone)
        found = ZoneDemand(kind, slots, first, create_forecasters(slots, self._failed))
        stored = await demand_models.load(archive, zone, kind, self._timezone)
        # old counts may have been deleted, but no counts of earlier hours were added
        if stored and stored.zone.first_hour <= first:
            last = stored.zone.hour
            history = await demand_reader.read_hours(archive, zone, kind, found.first_needed(last), last)
            await asyncio.to_thread(found.restore, stored.zone, stored.areas, history)
        self._stored_hours[kind] = found.hour
        surge = AreaSurge(found.neighbours)
        surge.restore((await demand_pulse.read_pulses(self._engine, zone, kind))[0])
        self.demands[kind], self._surges[kind], self._written[kind] = found, surge, {}
        self._shown[kind], self._last_hours[kind] = {}, found.hour
        return found

    def _demand_tables(self) -> dict[str, DemandTable]:
        """Return the demand table of each blueprint that has one."""
        loaded = self._engine.blueprints.by_name.items()
        return {name: each.price.demand for name, each in loaded if each.price.demand is not None}

    async def _learn(self, demand: ZoneDemand, last_hour: int) -> None:
        """Learn the hours up to ``last_hour``. Store the state every ``STORE_EVERY_HOURS``."""
        archive, zone, kind = self._engine.archive, self._zone, demand.kind
        while demand.hour < last_hour:
            until = min(last_hour, demand.hour + HOURS_PER_READ)
            counts = await demand_reader.read_hours(archive, zone, kind, demand.hour + 1, until)
            await asyncio.to_thread(_close_hours, demand, until, counts)
        if demand.hour - self._stored_hours[kind] >= STORE_EVERY_HOURS:
            await demand_models.store(archive, zone, kind, *demand.states())
            self._stored_hours[kind] = demand.hour

    async def _write_pulse(self, demand: ZoneDemand, now: int, supply: demand_supply.SupplyOfAreas) -> None:
        """Write the pulse of the areas that changed."""
        hour, kind = hour_of(now), demand.kind
        first = min(demand.hour + 1, self._last_hours[kind])
        counts = await demand_reader.read_hours(self._engine.archive, self._zone, kind, first, hour)
        of_areas = {each: demand.with_parents(areas) for each, areas in counts.items()}
        pulses = demand.look(now, of_areas.get(hour, {}), supply)
        if not pulses:
            return
        self._surges[kind].tables = self._demand_tables()
        self._surges[kind].look(pulses, of_areas, now)
        written = self._written[kind]
        changed = {area: each for area, each in pulses.items() if _has_changed(written.get(area), each)}
        texts = {area: demand_pulse.encode_pulse(each) for area, each in changed.items()}
        shown = {area: _shown_area(area, each) for area, each in changed.items() if kind != "cell" or is_smallest(area)}
        notice = _encode_notice(kind, self._shown[kind], shown, now)
        await demand_pulse.store_pulses(self._engine, self._zone, kind, texts, now, notice)
        written.update((area, (each, each.score)) for area, each in changed.items())
        self._shown[kind].update(shown)
        self._last_hours[kind] = hour


def _has_changed(before: tuple[AreaPulse, float] | None, pulse: AreaPulse) -> bool:
    if before is None or before[1] != pulse.score:
        return True
    return before[0] is not pulse and before[0] != pulse


def _encode_notice(kind: AreaKind, before: _ShownAreas, now: _ShownAreas, as_of: int) -> bytes:
    """Return the JSON of the areas of ``now`` that changed, which consoles receive; empty if there are none. An area
    that was not in ``before`` is left out, so that the first look of a process sends nothing.
    """
    items = [now[area] for area in sorted(now.keys() & before.keys()) if now[area] != before[area]]
    return msgspec.json.encode(PublishedDemand(kind, items, rfc3339_of(as_of))) if items else b""


def _shown_area(area: str, pulse: AreaPulse) -> ChangedArea:
    multiplier = max(pulse.multipliers.values(), default=NEUTRAL)
    return ChangedArea(area, pulse.score, pulse.waiting, pulse.free, pulse.arrivals, multiplier)


def _close_hours(demand: ZoneDemand, until: int, counts: demand_reader.HourlyCounts) -> None:
    for hour in range(demand.hour + 1, until + 1):
        demand.close(hour, counts.get(hour, {}))
