"""The cursor of each zone: the position in its log up to which the application has handled the events. A client needs
no other state to receive all events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Cursor = dict[str, Any]
"""``{"epoch": …, "seq": …}``"""
ZoneCursors = dict[str, Cursor]
"""Cursors by zone, in the form that ``connect`` sends. A program can store them and continue after a restart."""


class Cursors:
    """The cursors ``by_zone``, and the number of missed events that will still come. This class does no I/O."""

    def __init__(self, by_zone: Mapping[str, Cursor] | None = None) -> None:
        self.by_zone: ZoneCursors = {zone: dict(cursor) for zone, cursor in (by_zone or {}).items()}
        self._joined: dict[str, tuple[int, int]] = {}

    def __str__(self) -> str:
        """Return the cursors as the ``after`` parameter of a poll: ``main:e1:131,north:e2:9``."""
        return ",".join(f"{zone}:{cursor['epoch']}:{cursor['seq']}" for zone, cursor in self.by_zone.items())

    @staticmethod
    def parse(cursors: str | ZoneCursors) -> ZoneCursors:
        """Parse cursors: the text of a poll, or the object of a snapshot, which is returned unchanged."""
        if not isinstance(cursors, str):
            return cursors
        parts = (cursor.rsplit(":", 2) for cursor in cursors.split(",") if cursor)
        return {zone: {"epoch": epoch, "seq": int(seq)} for zone, epoch, seq in parts}

    def join_zones(self, zones: Mapping[str, Any]) -> ZoneCursors:
        """Apply the zones in the server's reply to ``connect``. Return the heads of the zones in which events may have
        been lost.

        The cursors of those zones are deleted, because they are invalid and must not be sent before ``set_cursor`` sets
        new ones.
        """
        self._joined.clear()
        lost: ZoneCursors = {}
        for zone, joined_zone in zones.items():
            head = {"epoch": joined_zone["epoch"], "seq": joined_zone["seq"]}
            if not joined_zone["recovered"]:
                self.by_zone.pop(zone, None)
                lost[zone] = head
            elif missed := joined_zone.get("missed", 0):
                # The cursor moves to the head of the log only after all missed events have arrived.
                self._joined[zone] = (joined_zone["seq"], missed)
                self.advance(zone, joined_zone["epoch"], 0)
            else:
                self.advance(zone, **head)
        return lost

    def forget_missed(self) -> None:
        """Forget the missed events that the closed connection still had to send."""
        self._joined.clear()

    def set_cursor(self, zone: str, cursor: Cursor) -> None:
        """Set the cursor of ``zone``, even to a lower position than before."""
        self.by_zone[zone] = dict(cursor)

    def is_new(self, push: Mapping[str, Any]) -> bool:
        """Return whether a logged push has not been handled before."""
        cursor = self.by_zone.get(push["zone"])
        return cursor is None or push["seq"] > cursor["seq"]

    def mark_handled(self, push: Mapping[str, Any]) -> None:
        """Advance the cursor after a logged push was handled. The push may be a repeat."""
        zone = push["zone"]
        self.advance(zone, None, push["seq"])
        if zone in self._joined:
            head, missed = self._joined.pop(zone)
            if missed > 1:
                self._joined[zone] = (head, missed - 1)
            else:
                self.advance(zone, None, head)

    def advance(self, zone: str, epoch: str | None, seq: int) -> None:
        """Advance the cursor of ``zone`` to ``seq``; never move the cursor back."""
        at = self.by_zone.get(zone, {"epoch": "", "seq": 0})
        self.by_zone[zone] = {"epoch": at["epoch"] if epoch is None else epoch, "seq": max(at["seq"], seq)}

    def is_behind(self, zone: str, head: Cursor) -> bool:
        """Return whether the cursor of ``zone`` is before ``head``, the end of the zone's log when the connection was
        opened.
        """
        cursor = self.by_zone[zone]
        return bool(cursor["epoch"] != head["epoch"] or cursor["seq"] < head["seq"])
