"""Count the jobs that wait for a technician, and the free and busy technicians, in each area of a zone now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.archive import demand_reader
from engine.domain import zone_map
from engine.domain.zone_map import ZoneMapMarker, load_cells
from engine.rules.boxes import MAX_LATITUDE, Layer, MapBox
from engine.rules.hour_slots import WEEK_HOURS, hour_of
from engine.rules.pulse import AreaKind, cell_at
from engine.rules.zone_demand import AreaSupply
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

__all__ = ["SupplyCounter", "SupplyOfAreas", "SupplyOfZone", "load_cells"]

WORLD = MapBox(-180.0, -MAX_LATITUDE, 180.0, MAX_LATITUDE)
POSTAL_WEEKS = 12
"""A cell belongs to the postal code that most of its bookings of the last so many weeks had."""
POSTAL_READ_MS = 3_600_000
"""How often the postal codes of cells are read from SQL."""
SupplyOfAreas = Mapping[str, AreaSupply]


@dataclass(frozen=True, slots=True)
class SupplyOfZone:
    """The jobs and technicians in each cell. ``codes`` has the postal code of each cell that has one."""

    cells: SupplyOfAreas
    codes: Mapping[str, str]

    def by_kind(self, kind: AreaKind) -> SupplyOfAreas:
        """Return the jobs and technicians in each area of a kind. A postal code has the sum of its cells."""
        if kind == "cell":
            return self.cells
        sums: dict[str, AreaSupply] = {}
        for cell, here in self.cells.items():
            if code := self.codes.get(cell):
                before = sums.get(code, AreaSupply())
                sums[code] = AreaSupply(*(a + b for a, b in zip(before, here, strict=True)))
        return sums


class SupplyCounter:
    """Counts the jobs and technicians of a zone. The counter caches the cells of people and jobs that did not move."""

    def __init__(self, engine: Engine, zone: Zone) -> None:
        self._engine = engine
        self._zone = zone
        self._cells: dict[str, tuple[float, float, str]] = {}
        self._codes: dict[str, str] = {}
        self._codes_due_ms = 0

    async def count(self, now_ms: int) -> SupplyOfZone:
        """Return the jobs and technicians in the zone at ``now_ms``. Raises the same errors as ``Store.read``."""
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        known: dict[str, tuple[float, float, str]] = {}
        layers: tuple[Layer, ...] = ("people", "jobs")
        for layer in layers:
            ids = await zone_map.find_ids(self._engine, self._zone, layer, [WORLD])
            for marker in (await zone_map.read_entries(self._engine, self._zone, layer, ids)).values():
                place = _place_in_supply(marker)
                if marker is not None and place is not None:
                    cell = known[marker.id] = self._cell_of(marker)
                    counts[cell[2]][place] += 1
        self._cells = known
        if now_ms >= self._codes_due_ms:
            self._codes = await self._read_codes(now_ms)
            self._codes_due_ms = now_ms + POSTAL_READ_MS
        return SupplyOfZone({cell: AreaSupply(*each) for cell, each in counts.items()}, self._codes)

    def _cell_of(self, marker: ZoneMapMarker) -> tuple[float, float, str]:
        before = self._cells.get(marker.id)
        if before is not None and before[:2] == (marker.lat, marker.lon):
            return before
        return marker.lat, marker.lon, cell_at(marker.lat, marker.lon)

    async def _read_codes(self, now_ms: int) -> dict[str, str]:
        since = hour_of(now_ms) - POSTAL_WEEKS * WEEK_HOURS
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        for code, cell, total in await demand_reader.read_postal_cells(self._engine.archive, self._zone, since):
            totals[cell][code] += total
        return {cell: max(codes, key=lambda code: (codes[code], code)) for cell, codes in totals.items()}


def _place_in_supply(marker: ZoneMapMarker | None) -> int | None:
    """Return the index of the member of AreaSupply that counts a person or a job; None if none does."""
    if marker is None:
        return None
    if marker.layer == "jobs":
        return 0 if marker.row[3] == b"open" else None
    if marker.row[4] != b"1":
        return None
    return 2 if int(marker.row[5] or 0) > 0 else 1
