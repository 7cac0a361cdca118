"""Renew the presence leases of technicians, each in their own zone."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from engine.errors import NotFound
from engine.technicians import live
from engine.types import TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


async def renew_leases_in_own_zones(engine: Engine, technicians: Collection[str]) -> None:
    """Renew the lease of each technician in the zone that has their record, if that zone is open. If a technician has
    no lease in the zone that this process remembers, their zone is searched again, because they may have changed it.
    """
    known = [TechnicianId(UserId(each)) for each in technicians]
    absent = await _renew_by_zone(engine, known, engine.technician_zones.recall)
    if len(engine.store.zones) == 1 or not absent:
        return
    zones = await asyncio.gather(*(_find_new_zone(engine, each) for each in absent))
    new_zones = {each: zone for each, zone in zip(absent, zones, strict=True) if zone}
    await _renew_by_zone(engine, new_zones, new_zones.get)


async def _renew_by_zone(
    engine: Engine, technicians: Collection[TechnicianId], zone_of: Callable[[TechnicianId], Zone | None]
) -> list[TechnicianId]:
    """Renew the leases of technicians whose zone is known and open. Return those whose zone is unknown, and those who
    are offline or have no record there.
    """
    absent: list[TechnicianId] = []
    groups = defaultdict[Zone, list[TechnicianId]](list)
    for technician in technicians:
        zone = zone_of(technician)
        (absent if zone is None else groups[zone]).append(technician)
    for zone, group in groups.items():
        if engine.store.zones[zone].open:
            absent += await live.renew_leases(engine, zone, group)
    return absent


async def _find_new_zone(engine: Engine, technician: TechnicianId) -> Zone | None:
    """Return the zone that has the technician's record now. None if this process remembers the same zone, or if no zone
    has the record.
    """
    remembered = engine.technician_zones.recall(technician)
    with suppress(NotFound):
        zone = await engine.technician_zones.find(technician)
        return zone if zone != remembered else None
    return None
