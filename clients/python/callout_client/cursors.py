"""How far each zone has been handled: all that a client must remember to miss nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Place = dict[str, Any]
"""``{"epoch": …, "seq": …}``"""
Places = dict[str, Place]
"""By zone: as ``connect`` takes them, and as they may be kept over a restart of the program."""


class Cursors:
    """``places``, and how much of what was missed is still to come. No input nor output."""

    def __init__(self, places: Mapping[str, Place] | None = None) -> None:
        self.places: Places = {zone: dict(place) for zone, place in (places or {}).items()}
        self._joined: dict[str, tuple[int, int]] = {}

    def __str__(self) -> str:
        """As ``after`` of a poll takes it: ``main:e1:131,north:e2:9``."""
        return ",".join(f"{zone}:{place['epoch']}:{place['seq']}" for zone, place in self.places.items())

    @staticmethod
    def parse(given: str | Places) -> Places:
        """Read a cursor in either spelling: text of a poll, or an object of a snapshot."""
        if not isinstance(given, str):
            return given
        parts = (place.rsplit(":", 2) for place in given.split(",") if place)
        return {zone: {"epoch": epoch, "seq": int(seq)} for zone, epoch, seq in parts}

    def join(self, zones: Mapping[str, Any]) -> Places:
        """A connection has begun. Gives the heads of the zones in which events may have been lost: their cursors are
        no good any more, and none is named to a server before ``begin``.
        """
        self._joined.clear()
        lost: Places = {}
        for zone, told in zones.items():
            head = {"epoch": told["epoch"], "seq": told["seq"]}
            if not told["recovered"]:
                self.places.pop(zone, None)
                lost[zone] = head
            elif missed := told.get("missed", 0):
                # The head at joining is ours only once all that had been missed has come.
                self._joined[zone] = (told["seq"], missed)
                self.reach(zone, told["epoch"], 0)
            else:
                self.reach(zone, **head)
        return lost

    def forget_joining(self) -> None:
        """What was still to come on that connection will not."""
        self._joined.clear()

    def begin(self, zone: str, place: Place) -> None:
        """Go on from here, be it lower than before."""
        self.places[zone] = dict(place)

    def is_new(self, push: Mapping[str, Any]) -> bool:
        """Whether a logged push has not been handled before."""
        place = self.places.get(push["zone"])
        return place is None or push["seq"] > place["seq"]

    def handled(self, push: Mapping[str, Any]) -> None:
        """A logged push is done with, be it a repeat."""
        zone = push["zone"]
        self.reach(zone, None, push["seq"])
        if zone in self._joined:
            head, missed = self._joined.pop(zone)
            if missed > 1:
                self._joined[zone] = (head, missed - 1)
            else:
                self.reach(zone, None, head)

    def reach(self, zone: str, epoch: str | None, seq: int) -> None:
        """Everything up to ``seq`` is done with."""
        at = self.places.get(zone, {"epoch": "", "seq": 0})
        self.places[zone] = {"epoch": at["epoch"] if epoch is None else epoch, "seq": max(at["seq"], seq)}

    def is_behind(self, zone: str, head: Place) -> bool:
        """Whether it is to go on from before the head that a connection began with."""
        place = self.places[zone]
        return bool(place["epoch"] != head["epoch"] or place["seq"] < head["seq"])
