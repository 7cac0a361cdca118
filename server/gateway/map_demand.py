"""The demand cells that one session sees on a zone's map, and the cells of its last frames."""

from __future__ import annotations

from heapq import nlargest
from typing import Any

import msgspec

from engine.domain.demand_cells import DemandCell, DemandCells
from engine.domain.zone_map import MAX_ENTRIES
from engine.rules.boxes import MapBox

MAX_FRAME_CELLS = 400
"""The most cells in one frame, about 300 KB. Further cells follow in the next frame, as for people and jobs."""


class DemandView:
    """The demand layer of a view. ``is_behind`` is true if there may be something to send to the session."""

    def __init__(self, box: MapBox, demand: DemandCells) -> None:
        self.is_behind = True
        self.has_more = False
        """Whether the last frame was full, so that the next one may follow at once."""
        self._box = box
        self._demand = demand
        self._sent: dict[str, DemandCell] = {}

    def take_members(self, *, is_snapshot: bool) -> dict[str, Any]:
        """Return the members of the next frame: ``demand`` has cells that are new or changed, ``demand_left`` the names
        of those that are no longer shown. A snapshot has all cells. A later frame has only changes, and neither member
        if nothing has changed. The caller must send them, because the view counts them as sent.
        """
        if is_snapshot:
            self._sent = {}
        elif not self.is_behind:
            return {}
        shown, sent = self._shown(), self._sent
        left = [name for name in sent if name not in shown]
        changed = [cell for name, cell in shown.items() if sent.get(name) is not cell]
        self.has_more = self.is_behind = len(changed) > MAX_FRAME_CELLS
        part = changed[:MAX_FRAME_CELLS]
        for name in left:
            del sent[name]
        sent.update((cell.name, cell) for cell in part)
        members: dict[str, Any] = {}
        if part or is_snapshot:
            members["demand"] = [msgspec.Raw(cell.json) for cell in part]
        if left:
            members["demand_left"] = left
        return members

    def _shown(self) -> dict[str, DemandCell]:
        """Return the cells with their centre in the box. If they are many, return those with the highest scores."""
        box = self._box
        inside = [cell for cell in self._demand.cells.values() if box.contains(cell.lat, cell.lon)]
        if len(inside) > MAX_ENTRIES:
            inside = nlargest(MAX_ENTRIES, inside, key=lambda cell: (cell.pulse.score, cell.name))
        return {cell.name: cell for cell in inside}
