"""Count the jobs that wait for a technician, and the free and busy technicians, in each area of a zone now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.archive import demand_reader
from engine.domain import zone_map
from engine.domain.zone_map import Row, load_cells
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
_KnownPlaces = dict[str, tuple[bytes, bytes, str]]
"""Where each person and job was, as Redis has it, and the cell of that place."""


@dataclass(frozen=True, slots=True)
class SupplyOfZone:
    """The jobs and technicians in each cell. ``codes`` has the postal code of each cell that has one."""

    cells: SupplyOfAreas
    codes: Mapping[str, str]

    def by_kind(self, kind: AreaKind) -> SupplyOfAreas:
        """Return the jobs and technicians in each area of a kind. A postal code has the sum of its cells."""
        if kind == "cell":
            return self.cells
        sums: dict[str, list[int]] = {}
        for cell, (waiting, free, busy) in self.cells.items():
            if code := self.codes.get(cell):
                row = sums.setdefault(code, [0, 0, 0])
                row[0] += waiting
                row[1] += free
                row[2] += busy
        return {code: AreaSupply(*row) for code, row in sums.items()}


class SupplyCounter:
    """Counts the jobs and technicians of a zone. The counter caches the cells of people and jobs that did not move."""

    def __init__(self, engine: Engine, zone: Zone) -> None:
        self._engine = engine
        self._zone = zone
        self._places: _KnownPlaces = {}
        self._codes: dict[str, str] = {}
        self._codes_due_ms = 0

    async def count(self, now_ms: int) -> SupplyOfZone:
        """Return the jobs and technicians in the zone at ``now_ms``. Raises the same errors as ``Store.read``."""
        found: tuple[list[str], ...] = ([], [], [])
        before, self._places = self._places, {}
        for layer, at, place_in_supply in _LAYERS:
            ids = await zone_map.find_ids(self._engine, self._zone, layer, [WORLD])
            for name, row in (await zone_map.read_rows(self._engine, self._zone, layer, ids)).items():
                if row is None or (place := place_in_supply(row)) is None:
                    continue
                lat, lon, known = row[at], row[at + 1], before.get(name)
                if known is None or known[0] != lat or known[1] != lon:
                    known = lat, lon, cell_at(float(lat), float(lon))
                self._places[name] = known
                found[place].append(known[2])
        if now_ms >= self._codes_due_ms:
            self._codes = await self._read_codes(now_ms)
            self._codes_due_ms = now_ms + POSTAL_READ_MS
        waiting, free, busy = map(Counter, found)
        cells = waiting.keys() | free.keys() | busy.keys()
        return SupplyOfZone({cell: AreaSupply(waiting[cell], free[cell], busy[cell]) for cell in cells}, self._codes)

    async def _read_codes(self, now_ms: int) -> dict[str, str]:
        since = hour_of(now_ms) - POSTAL_WEEKS * WEEK_HOURS
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        for code, cell, total in await demand_reader.read_postal_cells(self._engine.archive, self._zone, since):
            totals[cell][code] += total
        return {cell: max(codes, key=lambda code: (codes[code], code)) for cell, codes in totals.items()}


def _person_in_supply(row: Row) -> int | None:
    """Return the index of the member of AreaSupply in which a person counts; None if they do not count."""
    if row[4] != b"1":
        return None
    return 2 if int(row[5] or 0) > 0 else 1


def _job_in_supply(row: Row) -> int | None:
    """Return the index of the member of AreaSupply in which a job counts; None if it does not count."""
    return 0 if row[3] == b"open" else None


_LAYERS: tuple[tuple[Layer, int, Callable[[Row], int | None]], ...] = (
    ("people", 1, _person_in_supply),
    ("jobs", 0, _job_in_supply),
)
"""For each layer of the map: at which index of a row the latitude is, and the function that says how a row counts."""
