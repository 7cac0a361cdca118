"""A view: what one session sees of a zone's map, and what the session was last sent of it.

A frame is a snapshot, or the difference between what is in the box now and what was last queued to this session. So a
session that was skipped for a while, because it did not read, gets one difference and not a queue of old ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from engine.domain import zone_map
from engine.domain.zone_map import ZoneMapMarker
from engine.rules import cells
from engine.rules.boxes import LAYERS, Layer, MapBox
from engine.types import Zone
from server.gateway.map_demand import DemandView

MAX_FRAME_ENTRIES = 2_000
"""The most entries in one frame, about 300 KB. Further entries follow in the next frame, because a session with many
unsent bytes is closed as too slow, and one snapshot must not be that large."""
MAX_LATE_S = 0.1
UNCLUSTER_BELOW_SHARE = 0.9
"""A layer that is shown as clusters is shown one by one again when it has fallen to this share of the limit: the map
must not change its form with each person who crosses the border of the box."""

Entries = Mapping[str, ZoneMapMarker]
CellCounts = tuple[int, int]
"""How many people and how many jobs are in a cell."""


class ViewOptions(NamedTuple):
    """What a session asked to see of a zone's map: at most one frame in ``every_s`` seconds. ``has_demand`` is for the
    layer of demand.
    """

    box: MapBox
    layers: Sequence[Layer]
    every_s: float
    has_demand: bool = False


class MapFrame(NamedTuple):
    """A frame of a map: the data of ``map.snapshot``, or of ``map.delta``."""

    is_snapshot: bool
    data: dict[str, Any]


class MapView:
    """What one session sees of a zone's map. ``k`` is the number of its last frame; a view that replaces another
    continues the numbers. ``demand`` is the layer of demand, if the session asked for it.
    """

    def __init__(self, zone: Zone, options: ViewOptions, k: int = 0, demand: DemandView | None = None) -> None:
        self.zone = zone
        self.box, self.layers, self.every_s, _ = options
        self.demand = demand
        self.k = k
        self.is_searched = False
        """Whether the box was searched since the view began. No snapshot is sent before that."""
        self.pending: set[str] = set()
        """The ids of entries that may differ from what the session was sent."""
        self.due_at = 0.0
        """The monotonic time from which the next frame may be sent; 0 before the snapshot."""
        self._inside: dict[str, ZoneMapMarker] = {}
        self._numbers: dict[Layer, int] = dict.fromkeys(LAYERS, 0)
        self._crowded: frozenset[Layer] = frozenset()
        """The layers that are shown as clusters."""
        self._cells: dict[int, CellCounts] = {}
        self._sent: dict[str, ZoneMapMarker] = {}
        self._sent_cells: dict[int, CellCounts] = {}
        self._has_more = False

    def is_due(self, now: float) -> bool:
        """Return whether a frame may be sent at ``now`` (monotonic seconds), and there may be something to send."""
        if not self.is_searched:
            return False
        if not self.due_at:
            return True
        has_news = bool(self.pending) or (self.demand is not None and self.demand.is_behind)
        return has_news and (self._is_continued or now >= self.due_at)

    @property
    def _is_continued(self) -> bool:
        """Whether the last frame was full: the next one follows at once."""
        return self._has_more or (self.demand is not None and self.demand.has_more)

    def take_frame(self, entries: Entries, now_ms: int) -> MapFrame | None:
        """Return the next frame, None if nothing in the view has changed. The caller sends it:
        the view counts it as sent.
        """
        is_first, is_continued = not self.due_at, self._is_continued
        changed = self._apply(entries, entries.keys() if is_first else self.pending)
        self.pending = set()
        crowded = frozenset(layer for layer in self.layers if self._is_crowded(layer))
        is_snapshot = is_first or crowded != self._crowded
        self._crowded = crowded
        data = self._take_snapshot(now_ms) if is_snapshot else self._take_delta(changed, now_ms)
        areas = self.demand.take_members(is_snapshot=is_snapshot) if self.demand else {}
        if not areas and not is_snapshot and not any(data.values()):
            return None
        self.k += 1
        # A frame that is a little late does not make the next one late.
        if not is_continued:
            self.due_at = max(self.due_at, monotonic() - MAX_LATE_S) + self.every_s
        return MapFrame(is_snapshot, {"zone": self.zone, "k": self.k, **data, **areas})

    def _apply(self, entries: Entries, ids: Iterable[str]) -> list[str]:
        """Update what is in the box, and return those of ``ids`` that are or were in it."""
        inside, sent, layers, box, changed = self._inside, self._sent, self.layers, self.box, []
        for name in ids:
            entry, old = entries.get(name), inside.get(name)
            if entry is not None and (entry.layer not in layers or not box.contains(entry.lat, entry.lon)):
                entry = None
            if entry is not old:
                self._replace_entry(name, old, entry)
            if entry is not None or old is not None or name in sent:
                changed.append(name)
        return changed

    def _replace_entry(self, name: str, old: ZoneMapMarker | None, new: ZoneMapMarker | None) -> None:
        if old is not None:
            self._numbers[old.layer] -= 1
            del self._inside[name]
            if old.layer in self._crowded:
                self._add_to_cell(old, -1)
        if new is not None:
            self._numbers[new.layer] += 1
            self._inside[name] = new
            if new.layer in self._crowded:
                self._add_to_cell(new, 1)

    @cached_property
    def _resolution(self) -> int:
        return cells.resolution_for(self.box)

    def _add_to_cell(self, entry: ZoneMapMarker, by: int) -> None:
        cell = entry.cell(self._resolution)
        people, jobs = self._cells.get(cell, (0, 0))
        counts = (people + by, jobs) if entry.layer == "people" else (people, jobs + by)
        if any(counts):
            self._cells[cell] = counts
        else:
            self._cells.pop(cell, None)

    def _is_crowded(self, layer: Layer) -> bool:
        limit = zone_map.MAX_ENTRIES * (UNCLUSTER_BELOW_SHARE if layer in self._crowded else 1)
        return self._numbers[layer] > limit

    def _take_snapshot(self, now_ms: int) -> dict[str, Any]:
        single = {name: entry for name, entry in self._inside.items() if entry.layer not in self._crowded}
        crowd = (entry for entry in self._inside.values() if entry.layer in self._crowded)
        self._cells = zone_map.count_cells(crowd, self._resolution) if self._crowded else {}
        self._sent_cells = dict(self._cells)
        self._sent = dict(islice(single.items(), MAX_FRAME_ENTRIES))
        self._send_later(single.keys() - self._sent.keys())
        layers: dict[str, list[msgspec.Raw]] = {layer: [] for layer in self.layers}
        for entry in self._sent.values():
            layers[entry.layer].append(msgspec.Raw(entry.json(now_ms)))
        clusters = [_encode_cluster(cell, counts) for cell, counts in self._cells.items()]
        return {"bbox": msgspec.structs.astuple(self.box), **layers, "clusters": clusters}

    def _take_delta(self, changed: list[str], now_ms: int) -> dict[str, Any]:
        entered: list[msgspec.Raw] = []
        moved: list[msgspec.Raw] = []
        left: list[str] = []
        sent, inside, crowded = self._sent, self._inside, self._crowded
        for number, name in enumerate(changed):
            if len(entered) + len(moved) >= MAX_FRAME_ENTRIES:
                self._send_later(changed[number:])
                break
            entry, old = inside.get(name), sent.get(name)
            if entry is old or (entry is not None and (entry.layer in crowded or (old and old.row == entry.row))):
                continue
            if entry is None:
                left.append(name)
                del sent[name]
                continue
            (entered if old is None else moved).append(msgspec.Raw(entry.json(now_ms)))
            sent[name] = entry
        else:
            self._has_more = False
        self._add_cells(entered, moved, left)
        return {"entered": entered, "moved": moved, "left": left}

    def _add_cells(self, entered: list[msgspec.Raw], moved: list[msgspec.Raw], left: list[str]) -> None:
        """Add the cells whose numbers differ from those that were sent."""
        if not self._crowded:
            return
        for cell, counts in self._cells.items():
            old = self._sent_cells.get(cell)
            if counts != old:
                (entered if old is None else moved).append(_encode_cluster(cell, counts))
        left += (cells.cell_place(cell)[0] for cell in self._sent_cells.keys() - self._cells.keys())
        self._sent_cells = dict(self._cells)

    def _send_later(self, names: Iterable[str]) -> None:
        self.pending.update(names)
        self._has_more = bool(self.pending)


def _encode_cluster(cell: int, counts: CellCounts) -> msgspec.Raw:
    return msgspec.Raw(zone_map.encode_cluster(cell, *counts))
