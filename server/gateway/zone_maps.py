"""The maps of all zones at one gateway: what each session sees of them, and one reader for each zone whose map a
session sees.
"""

from __future__ import annotations

import asyncio

from engine.clock import now_ms
from engine.events import Event
from engine.runtime import Engine
from engine.types import Zone
from server.gateway.frames import PayloadEncoder
from server.gateway.map_demand import DemandView
from server.gateway.map_reader import ZoneMapReader
from server.gateway.map_view import MapFrame, MapView, ViewOptions
from server.gateway.protocol import State
from server.gateway.session import Session

CHANNEL_PREFIX = "map:"
SNAPSHOT_TYPE = "map.snapshot"
DELTA_TYPE = "map.delta"


class ZoneMaps:
    """The views of a gateway's sessions on the maps of zones."""

    def __init__(self, engine: Engine, payloads: PayloadEncoder) -> None:
        self._engine = engine
        self._payloads = payloads
        self._readers: dict[Zone, ZoneMapReader] = {}
        self._tasks: dict[Zone, asyncio.Task[None]] = {}

    def show(self, session: Session, zone: Zone, options: ViewOptions) -> None:
        """Show a connected session the part of the zone's map that ``options`` select. It replaces the session's
        earlier view of this map. The first frame is a snapshot.
        """
        if session.state is not State.LIVE:
            return
        reader = self._readers.get(zone)
        if reader is None:
            reader = self._readers[zone] = ZoneMapReader(self._engine, zone, self._push)
        before = reader.views.get(session)
        demand = DemandView(options.box, reader.demand) if options.has_demand else None
        reader.views[session] = MapView(zone, options, before.k if before else 0, demand)
        if zone not in self._tasks:
            self._tasks[zone] = asyncio.create_task(reader.run(), name=f"map of {zone}")

    def hide(self, session: Session, zone: Zone) -> None:
        """End the session's view of the zone's map. The reader of a map at which nobody looks stops at once."""
        reader = self._readers.get(zone)
        if reader is None or reader.views.pop(session, None) is None or reader.views:
            return
        self._tasks.pop(zone).cancel()
        del self._readers[zone]

    def remove_session(self, session: Session) -> None:
        """End all views of a session that has ended."""
        for zone in list(self._readers):
            self.hide(session, zone)

    def note_event(self, event: Event) -> None:
        """Note that an event of the log may have changed the zone's map."""
        reader = self._readers.get(event.zone)
        if reader is not None:
            reader.note_event(event)

    def reader_of(self, zone: Zone) -> ZoneMapReader | None:
        """Return the reader of a zone's map, None while nobody looks at it."""
        return self._readers.get(zone)

    def stop(self) -> None:
        """Stop all readers."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._readers.clear()

    def _push(self, session: Session, frame: MapFrame) -> None:
        if frame.is_snapshot:
            payload = self._payloads.encode_live_push(SNAPSHOT_TYPE, now_ms(), frame.data)
        else:
            payload = self._payloads.encode_live_push(DELTA_TYPE, now_ms(), frame.data)
        session.push(session.hub.frames.frame(payload))
