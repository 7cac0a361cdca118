"""What a client that watches the map receives: after each frame it shows exactly what is in its box now."""

from __future__ import annotations

from time import monotonic
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain import zone_map
from engine.domain.zone_map import ZoneMapMarker
from engine.rules.boxes import LAYERS, MapBox
from engine.types import DEFAULT_ZONE
from server.gateway import map_view
from server.gateway.map_view import MapView, ViewOptions

BOX = MapBox(0.0, 0.0, 1.0, 1.0)
NOW_MS = 1_800_000_000_000


def person(name: str, place: float) -> ZoneMapMarker:
    """Return a person at this latitude and longitude."""
    lat = str(place).encode()
    return ZoneMapMarker("people", name, [b'"P"', lat, lat, str(NOW_MS).encode(), b"1", b"0", None])


def job(name: str, place: float) -> ZoneMapMarker:
    """Return a job at this latitude and longitude."""
    lat = str(place).encode()
    return ZoneMapMarker("jobs", f"job_{name}", [lat, lat, b"open", b"open", b""])


class ShownMap:
    """What a client shows after it has applied the frames of a map view."""

    def __init__(self, view: MapView) -> None:
        self.view = view
        self.things: dict[str, Any] = {}
        self.sizes: list[int] = []

    def take_frame(self, entries: dict[str, ZoneMapMarker]) -> bool:
        """Apply the next frame, and return whether there was one."""
        frame = self.view.take_frame(entries, NOW_MS)
        if frame is None:
            return False
        data = msgspec.json.decode(msgspec.json.encode(frame.data))
        entered = data.get("entered", []) + data.get("people", []) + data.get("jobs", []) + data.get("clusters", [])
        if frame.is_snapshot:
            self.things = {}
        self.sizes.append(len(entered) + len(data.get("moved", [])))
        names = [each.get("id") or each["cell"] for each in entered]
        assert not set(names) & self.things.keys()
        self.things |= dict(zip(names, entered, strict=True))
        for each in data.get("moved", []):
            name = each.get("id") or each["cell"]
            assert self.things[name] != each
            self.things[name] = each
        for name in data.get("left", []):
            del self.things[name]
        return True


steps = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, 0.1, 0.11, 0.5, 0.9, 5.0]), st.booleans()),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, limit=st.integers(2, 6), frame_limit=st.integers(1, 5))
def test_the_frames_lead_to_what_is_in_the_box(
    steps: list[tuple[str, float | None, bool]], limit: int, frame_limit: int
) -> None:
    """After each due frame the client shows exactly the content of the box, also if anything moves, frames are skipped,
    or the layer changes between entries and clusters.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zone_map, "MAX_ENTRIES", limit)
        patch.setattr(map_view, "MAX_FRAME_ENTRIES", frame_limit)
        view = MapView(DEFAULT_ZONE, ViewOptions(BOX, LAYERS, 1.0))
        entries: dict[str, ZoneMapMarker] = {"job_j": job("j", 0.3)}
        shown = ShownMap(view)
        for name, place, sends in [*steps, ("h", 0.2, True)]:
            if place is None:
                entries.pop(name, None)
            elif name not in entries or entries[name].lat != place:
                entries[name] = person(name, place)
            view.pending.add(name)
            while sends and shown.take_frame(entries) and view.pending:
                pass
        inside = {name: entry for name, entry in entries.items() if BOX.contains(entry.lat, entry.lon)}
        crowd = [entry for entry in inside.values() if entry.layer == "people"]
        singles = {name: each for name, each in shown.things.items() if "cell" not in each}
        clusters = [each for each in shown.things.values() if "cell" in each]
        if clusters:
            assert sum(each["people"] for each in clusters) == len(crowd) > limit * map_view.UNCLUSTER_BELOW_SHARE
            inside = {name: entry for name, entry in inside.items() if entry.layer == "jobs"}
        else:
            assert len(crowd) <= limit
        assert singles == {name: msgspec.json.decode(entry.json(NOW_MS)) for name, entry in inside.items()}
        assert view.k == len(shown.sizes)


def test_a_session_that_was_skipped_gets_one_difference() -> None:
    """If a person moved several times since the last frame, the next frame has only the newest position. It leaves out
    a person who both came and went in that time."""
    view = MapView(DEFAULT_ZONE, ViewOptions(BOX, LAYERS, 0.5))
    entries = {"a": person("a", 0.1)}
    shown = ShownMap(view)
    shown.take_frame(entries)
    for place in (0.2, 0.3, 0.4):
        entries["a"] = person("a", place)
        view.pending |= {"a", "b"}
    frame = view.take_frame(entries, NOW_MS)
    assert frame is not None and len(frame.data["moved"]) == 1 and frame.data["entered"] == frame.data["left"] == []
    view.pending |= {"a", "b"}
    assert view.take_frame(entries, NOW_MS) is None


def test_a_view_waits_for_its_search_and_its_turn() -> None:
    """A client gets no frame before the server has searched its box. Later frames come ``every_s`` apart on average."""
    view = MapView(DEFAULT_ZONE, ViewOptions(BOX, LAYERS, 2.0))
    assert not view.is_due(100.0)
    view.is_searched = True
    assert view.is_due(100.0)
    began = monotonic()
    view.take_frame({}, NOW_MS)
    assert began + 2.0 - map_view.MAX_LATE_S <= view.due_at <= monotonic() + 2.0
    view.pending.add("a")
    assert not view.is_due(view.due_at - 0.001) and view.is_due(view.due_at)
    view.pending.clear()
    assert not view.is_due(view.due_at + 99)


def test_a_large_snapshot_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of a snapshot that does not fit into one frame follows at once in the next frames, without a wait of
    ``every_s``."""
    monkeypatch.setattr(map_view, "MAX_FRAME_ENTRIES", 4)
    view = MapView(DEFAULT_ZONE, ViewOptions(BOX, ("people",), 60.0))
    view.is_searched = True
    entries = {f"p{n}": person(f"p{n}", 0.5) for n in range(10)}
    shown = ShownMap(view)
    while view.is_due(monotonic()):
        shown.take_frame(entries)
    assert shown.sizes == [4, 4, 2] and set(shown.things) == set(entries)
