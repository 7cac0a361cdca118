"""A test client that watches the map of a zone over a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from server.schemas.maps import MapDelta, MapSnapshot
from tests.server.gateway.conftest import Client

TOWN_BOX = [-74.2, 40.6, -73.8, 40.9]
Things = dict[str, dict[str, Any]]


class Console:
    """A client that watches the map of ``main``, and applies each frame to ``things`` (by id or cell)."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.things: Things = {}
        self.areas: Things = {}
        """The cells of demand."""
        self.k = 0
        self.frames: list[str] = []
        """The types of the frames so far."""

    async def look(self, bbox: list[float], **more: Any) -> dict[str, Any]:
        """Subscribe to the map, or move the view, and apply the snapshot. Return the reply."""
        reply = await self.client.request(op="subscribe", channel="map:main", bbox=bbox, **{"every_s": 0.5, **more})
        seen = len(self.frames)
        while "map.snapshot" not in self.frames[seen:]:
            await self.next_frame()
        return reply

    async def next_frame(self) -> dict[str, Any]:
        """Apply the next frame, and return its data. Assert that no frame is missing."""
        while not (push := await self.client.next_push())["type"].startswith("map."):
            pass
        kind: Any = MapSnapshot if push["type"] == "map.snapshot" else MapDelta
        msgspec.convert(push["data"], kind)
        self.frames.append(push["type"])
        self.apply(push["data"])
        return dict(push["data"])

    def apply(self, data: dict[str, Any]) -> None:
        """Apply the data of a frame."""
        assert data["k"] == self.k + 1 and data["zone"] == "main"
        self.k = data["k"]
        if "left" not in data:
            self.areas = {}
        self.areas |= {each["area"]: each for each in data.get("demand", ())}
        for name in data.get("demand_left", ()):
            del self.areas[name]
        if "left" not in data:
            every = [*data.get("people", ()), *data.get("jobs", ()), *data["clusters"]]
            self.things = {each.get("id") or each["cell"]: each for each in every}
            return
        for each in data["entered"]:
            name = each.get("id") or each["cell"]
            assert name not in self.things
            self.things[name] = each
        for each in data["moved"]:
            name = each.get("id") or each["cell"]
            assert name in self.things and self.things[name] != each
            self.things[name] = each
        for name in data["left"]:
            del self.things[name]

    async def until(self, condition: Callable[[Things], Any]) -> None:
        """Apply frames until the things on the map fulfil the condition."""
        while not condition(self.things):
            await self.next_frame()
