"""In which zone each technician is, so that a process need not ask every zone at each fix or sign of life.

A technician changes their zone rarely, and only while they are offline. So a process remembers the zone in which it
found a technician's record. The caller checks the record there, or sees by a script's reply that there is none. Then it
asks all zones at once.
"""

from __future__ import annotations

import asyncio

from engine.errors import NotFound
from engine.store import keys
from engine.store.connection import Store
from engine.types import TechnicianId, Zone

MAX_REMEMBERED = 200_000
"""The most technicians that are remembered: about 30 MB. Then the one that was found first is forgotten."""


class TechnicianZones:
    """The zones in which this process has found technicians."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[TechnicianId, Zone] = {}

    def recall(self, technician: TechnicianId) -> Zone | None:
        """Return the zone in which the technician probably is, without asking Redis; None if it is unknown."""
        zones = self._store.zones
        return self._found.get(technician) if len(zones) > 1 else next(iter(zones))

    async def find(self, technician: TechnicianId) -> Zone:
        """Return the zone that has the technician's record now. Raises NotFound if no zone has it."""
        known = self.recall(technician)
        if known is not None and await self._has_record(known, technician):
            return known
        return await self.search(technician)

    async def search(self, technician: TechnicianId) -> Zone:
        """Ask all zones at once for the technician's record. Raises NotFound."""
        self._found.pop(technician, None)
        zones = list(self._store.zones)
        has_record = await asyncio.gather(*(self._has_record(zone, technician) for zone in zones))
        found = next((zone for zone, has in zip(zones, has_record, strict=True) if has), None)
        if found is None:
            raise NotFound("No such technician")
        if len(zones) > 1:
            if len(self._found) >= MAX_REMEMBERED:
                del self._found[next(iter(self._found))]
            self._found[technician] = found
        return found

    async def _has_record(self, zone: Zone, technician: TechnicianId) -> bool:
        return bool(await self._store.command("EXISTS", keys.technician(zone, technician)))
