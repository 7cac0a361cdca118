"""The demand layer of a zone's map in one process. The cells are read again when there is a newer pulse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.domain.demand import area_item
from engine.domain.demand_pulse import read_pulses
from engine.domain.zone_map import load_cells
from engine.rules.pulse import AreaPulse, cell_centre, find_sampled, is_smallest
from engine.store import keys
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


class DemandCell:
    """A cell with the pulse of ``source``: the cell itself or a parent. ``as_of`` (ms) is the time of the first pulse
    with these values.
    """

    __slots__ = ("_as_of", "_json", "lat", "lon", "name", "pulse", "source")

    def __init__(self, name: str, source: str, pulse: AreaPulse, as_of: int) -> None:
        self.name = name
        self.source = source
        self.pulse = pulse
        self.lat, self.lon = cell_centre(name)
        self._as_of = as_of
        self._json = b""

    @property
    def json(self) -> bytes:
        """The cell as an item of ``GET /v1/demand``."""
        if not self._json:
            self._json = msgspec.json.encode(area_item("cell", self.name, self.source, self.pulse, self._as_of))
        return self._json


class DemandCells:
    """The cells of a zone with requests. ``cells`` has them by name. A cell that did not change stays the same
    object.
    """

    def __init__(self, engine: Engine, zone: Zone) -> None:
        self.cells: dict[str, DemandCell] = {}
        self._engine = engine
        self._zone = zone
        self._as_of = 0
        self._is_complete = True
        """Whether the last pulse was read after it was written. It is written in parts, of which the first has its
        time, so a new one is read twice.
        """

    async def refresh(self) -> bool:
        """Read the cells if there is a newer pulse, or if the pulse has expired. Return whether they were read. Call it
        every few seconds. Raises the same errors as ``Store.command``.
        """
        key = keys.demand_pulse(self._zone, "cell")
        if int(await self._engine.store.command("HGET", key, "") or 0) == self._as_of and self._is_complete:
            return False
        await load_cells()
        pulses, as_of = await read_pulses(self._engine, self._zone, "cell")
        before, found = self.cells, dict[str, DemandCell]()
        for name in filter(is_smallest, pulses):
            source, old = find_sampled("cell", name, pulses), before.get(name)
            if old is not None and old.source == source and old.pulse == pulses[source]:
                found[name] = old
            else:
                found[name] = DemandCell(name, source, pulses[source], as_of)
        self._is_complete, self.cells, self._as_of = as_of == self._as_of, found, as_of
        return True
