"""Read one zone's map for all views of a gateway.

The reader holds the people and jobs in and near the boxes of all views. Every ``TICK_S`` it reads the records of those
who sent something since the last time, and of those whom an event of the log concerns. Every ``SEARCH_EVERY_S`` it
searches the boxes for newcomers. Within ``REFRESH_EVERY_S`` it reads every record once more, because a fix of a
technician who is offline is no sign of life, and because people who send nothing leave the map after an hour. Therefore
the cost depends on the number of changes, and not on the number of consoles. Without a view the reader reads nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection
from math import ceil
from time import monotonic

import structlog

from engine.clock import now_ms
from engine.domain import zone_map
from engine.domain.demand_cells import DemandCells
from engine.domain.zone_map import ZoneMapMarker
from engine.errors import CalloutError
from engine.events import Event
from engine.process.loops import not_cancelled
from engine.rules.boxes import Layer, MapBox, merge_boxes
from engine.runtime import Engine
from engine.store import keys
from engine.types import Zone
from server.gateway.map_view import MapFrame, MapView
from server.gateway.protocol import State
from server.gateway.session import Session

TICK_S = 0.05
SEARCH_EVERY_S = 5.0
REFRESH_EVERY_S = 20.0
RETRY_S = 1.0
BOX_MARGIN_DEGREES = 0.005
"""People are stored up to this distance beyond the boxes, so that a person who enters a box is shown at once. It is 400
m or more: a car drives this distance between two searches.
"""

JOB_PREFIX = "job_"
_IDS = re.compile(rb'"(?:job|technician|former)":\{"id":"([A-Za-z0-9_-]+)"')

log = structlog.get_logger(__name__)

PushFrame = Callable[[Session, MapFrame], None]
"""Sends a session a frame of the map."""


class ZoneMapReader:
    """The reader of one zone's map, and the views of it."""

    def __init__(self, engine: Engine, zone: Zone, push: PushFrame) -> None:
        self.demand = DemandCells(engine, zone)
        self._engine = engine
        self._zone = zone
        self._push = push
        self.views: dict[Session, MapView] = {}
        self.reads = 0
        """How often Redis was read for this map."""
        self._areas: dict[Layer, list[MapBox]] = {}
        """The areas that the last search covered, by layer."""
        self._entries: dict[str, ZoneMapMarker] = {}
        """The people and jobs in these areas, by id."""
        self._noted: set[str] = set()
        """The ids whose records must be read again."""
        self._changed: set[str] = set()
        """The ids of people and jobs that differ from what the views have received."""
        self._refresh: list[str] = []
        """The ids that are still to be read in this round of refreshing."""
        self._searched_at = 0.0
        self._seen_ms = -1
        """The newest sign of life in the zone that was read (ms); -1: none was."""

    def note_event(self, event: Event) -> None:
        """Note the jobs and technicians whom an event of this zone's log concerns: their records may have changed."""
        self._noted.update(name.decode() for name in _IDS.findall(event.data))

    async def run(self) -> None:
        """Read the map as long as there is a view."""
        while not_cancelled() and self.views:
            began = monotonic()
            pause = TICK_S
            try:
                await self._run_turn()
            except CalloutError as error:
                log.warning("map_away", zone=self._zone, error=str(error))
                self._noted.update(self._entries)
                self._searched_at, self._seen_ms, pause = 0.0, -1, RETRY_S
            except Exception:  # the task's boundary
                log.exception("map_failed", zone=self._zone)
                pause = RETRY_S
            await asyncio.sleep(max(0.0, began + pause - monotonic()))

    async def _run_turn(self) -> None:
        wanted = await self._read_active()
        if monotonic() - self._searched_at >= SEARCH_EVERY_S or any(not v.is_searched for v in self.views.values()):
            await self._search()
        wanted |= self._noted
        self._noted = set()
        wanted.update(self._next_to_refresh())
        await self._read(wanted)
        if len(self._entries) > zone_map.MAX_ENTRIES:
            await zone_map.load_cells()
        for view in self.views.values():
            view.pending |= self._changed
        self._changed = set()
        for session, view in list(self.views.items()):
            if self.views.get(session) is view and self._send_frame(session, view):
                await asyncio.sleep(0)

    def _next_to_refresh(self) -> list[str]:
        """Return the ids of the records that this turn reads again, so that every record is read again within
        ``REFRESH_EVERY_S``.
        """
        if not self._refresh:
            self._refresh = list(self._entries)
        share = ceil(len(self._entries) * TICK_S / REFRESH_EVERY_S)
        some = self._refresh[-share:]
        del self._refresh[-share:]
        return some

    async def _read_active(self) -> set[str]:
        """Return the ids of the technicians on the map who gave a sign of life, such as a fix, since the last call."""
        key, since = keys.last_seen(self._zone), self._seen_ms
        self.reads += 1
        if since < 0:
            rows = await self._engine.store.command("ZRANGE", key, -1, -1, "WITHSCORES")
        else:
            rows = await self._engine.store.command("ZRANGE", key, since, "+inf", "BYSCORE", "WITHSCORES")
        self._seen_ms = int(rows[-1]) if rows else max(0, since)
        return self._entries.keys() & {name.decode() for name in rows[::2]} if since >= 0 else set()

    async def _search(self) -> None:
        """Search the boxes of all views and read what is new there."""
        searched, self._areas = list(self.views.values()), self._wanted_areas()
        found: set[str] = set()
        for layer, areas in self._areas.items():
            found |= await zone_map.find_ids(self._engine, self._zone, layer, areas)
            self.reads += 1
        await self._read(found - self._entries.keys())
        await self._refresh_demand()
        self._searched_at = monotonic()
        for view in searched:
            view.is_searched = True

    async def _refresh_demand(self) -> None:
        """Read the cells of demand if a view has them and a newer pulse was written."""
        if any(view.demand for view in self.views.values()) and await self.demand.refresh():
            for view in self.views.values():
                if view.demand:
                    view.demand.is_behind = True

    def _wanted_areas(self) -> dict[Layer, list[MapBox]]:
        """Return the areas of which this reader stores the people and the jobs, by layer: the boxes of all views, for
        people a little wider.
        """
        boxes: dict[Layer, list[MapBox]] = {}
        for view in self.views.values():
            for layer in view.layers:
                boxes.setdefault(layer, []).append(
                    view.box.widen(BOX_MARGIN_DEGREES) if layer == "people" else view.box
                )
        return {layer: merge_boxes(of_layer) for layer, of_layer in boxes.items()}

    async def _read(self, ids: Collection[str]) -> None:
        """Read these records, hold those in the areas, and note the ids of those that differ from before. They stay
        noted if a later read of this turn fails.
        """
        jobs = [name for name in ids if name.startswith(JOB_PREFIX)]
        people = [name for name in ids if not name.startswith(JOB_PREFIX)]
        by_layer: tuple[tuple[Layer, list[str]], ...] = (("people", people), ("jobs", jobs))
        for layer, names in by_layer:
            areas = self._areas.get(layer, ())
            for name, entry in (await zone_map.read_entries(self._engine, self._zone, layer, names)).items():
                old = self._entries.get(name)
                if entry is None or not any(area.contains(entry.lat, entry.lon) for area in areas):
                    if old is None:
                        continue
                    del self._entries[name]
                elif old is not None and entry.row == old.row:
                    continue
                else:
                    self._entries[name] = entry
                self._changed.add(name)
        self.reads += bool(ids)

    def _send_frame(self, session: Session, view: MapView) -> bool:
        """Send the view's next frame if it is due and the session has read the earlier frames. Return whether one was
        sent.
        """
        if session.state is not State.LIVE or session.has_unsent or not view.is_due(monotonic()):
            return False
        frame = view.take_frame(self._entries, now_ms())
        if frame is None:
            return False
        self._push(session, frame)
        return True
