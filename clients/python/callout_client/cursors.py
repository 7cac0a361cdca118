"""The position up to which each zone has been handled. A client needs no other state to miss no event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Cursor = dict[str, Any]
"""``{"epoch": …, "seq": …}``"""
ZoneCursors = dict[str, Cursor]
"""By zone. ``connect`` takes them in this form, and a program can store them across a restart."""


class Cursors:
    """``by_zone``, and the number of missed events that are still to come. No I/O."""

    def __init__(self, by_zone: Mapping[str, Cursor] | None = None) -> None:
        self.by_zone: ZoneCursors = {zone: dict(cursor) for zone, cursor in (by_zone or {}).items()}
        self._joined: dict[str, tuple[int, int]] = {}

    def __str__(self) -> str:
        """Format as the ``after`` parameter of a poll: ``main:e1:131,north:e2:9``."""
        return ",".join(f"{zone}:{cursor['epoch']}:{cursor['seq']}" for zone, cursor in self.by_zone.items())

    @staticmethod
    def parse(given: str | ZoneCursors) -> ZoneCursors:
        """Parse cursors in either form: text of a poll, or object of a snapshot."""
        if not isinstance(given, str):
            return given
        parts = (cursor.rsplit(":", 2) for cursor in given.split(",") if cursor)
        return {zone: {"epoch": epoch, "seq": int(seq)} for zone, epoch, seq in parts}

    def join(self, zones: Mapping[str, Any]) -> ZoneCursors:
        """Apply the zones of a connect reply. Return the heads of the zones in which events may have been lost.

        The cursors of those zones are dropped: they are invalid, and none may be sent to a server before ``begin``.
        """
        self._joined.clear()
        lost: ZoneCursors = {}
        for zone, told in zones.items():
            head = {"epoch": told["epoch"], "seq": told["seq"]}
            if not told["recovered"]:
                self.by_zone.pop(zone, None)
                lost[zone] = head
            elif missed := told.get("missed", 0):
                # The head counts as reached only after all missed events have arrived.
                self._joined[zone] = (told["seq"], missed)
                self.reach(zone, told["epoch"], 0)
            else:
                self.reach(zone, **head)
        return lost

    def disconnected(self) -> None:
        """Forget the missed events that the closed connection still had to send."""
        self._joined.clear()

    def begin(self, zone: str, cursor: Cursor) -> None:
        """Set the cursor, even to a lower position than before."""
        self.by_zone[zone] = dict(cursor)

    def is_new(self, push: Mapping[str, Any]) -> bool:
        """Return whether a logged push has not been handled before."""
        cursor = self.by_zone.get(push["zone"])
        return cursor is None or push["seq"] > cursor["seq"]

    def handled(self, push: Mapping[str, Any]) -> None:
        """Record a logged push as handled; it may be a repeat."""
        zone = push["zone"]
        self.reach(zone, None, push["seq"])
        if zone in self._joined:
            head, missed = self._joined.pop(zone)
            if missed > 1:
                self._joined[zone] = (head, missed - 1)
            else:
                self.reach(zone, None, head)

    def reach(self, zone: str, epoch: str | None, seq: int) -> None:
        """Advance the cursor to ``seq``; never move it back."""
        at = self.by_zone.get(zone, {"epoch": "", "seq": 0})
        self.by_zone[zone] = {"epoch": at["epoch"] if epoch is None else epoch, "seq": max(at["seq"], seq)}

    def is_behind(self, zone: str, head: Cursor) -> bool:
        """Return whether the cursor is before the head of the connection."""
        cursor = self.by_zone[zone]
        return bool(cursor["epoch"] != head["epoch"] or cursor["seq"] < head["seq"])
