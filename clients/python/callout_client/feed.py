"""Deliver pushes from any transport: each push once and in order. A push that is newer than a snapshot is delivered
after the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping

from callout_client.cursors import Cursors, ZoneCursors
from callout_client.listeners import Frame, Listeners, Sync, call_listener


class Feed:
    """The delivery of pushes to the listeners of one client. A feed stores the cursors, and the pushes of zones that
    wait for a snapshot. It does no I/O.
    """

    def __init__(self, listeners: Listeners, cursors: ZoneCursors | None = None) -> None:
        self.cursors = Cursors(cursors)
        self._listeners = listeners
        self._buffered: dict[str, list[Frame]] = {}

    def join_zones(self, zones: Mapping[str, Frame]) -> ZoneCursors:
        """Call this with the ``zones`` of a connect reply. Return the heads (end positions of the logs) of the zones
        that now wait for a snapshot.
        """
        self._buffered.clear()
        return self._wait_for_snapshot(self.cursors.join_zones(zones))

    def forget_socket(self) -> None:
        """Call this before polling starts, when there is no socket. Polls deliver the buffered pushes again."""
        self._buffered.clear()
        self.cursors.forget_missed()

    def deliver_poll(self, answer: Frame) -> ZoneCursors:
        """Deliver the events of a poll's answer. Return the heads of the zones that now wait for a snapshot."""
        self._buffered.clear()
        for push in answer["events"]:
            self.deliver_push(push)
        by_zone = Cursors.parse(answer["cursor"])
        if not answer["recovered"]:
            return self._wait_for_snapshot(by_zone)
        for zone, cursor in by_zone.items():
            self.cursors.advance(zone, cursor["epoch"], cursor["seq"])
        return {}

    def _wait_for_snapshot(self, heads: ZoneCursors) -> ZoneCursors:
        if self._listeners.sync is None:
            for zone, head in heads.items():
                self.cursors.set_cursor(zone, head)
            return {}
        for zone in heads:
            self.cursors.by_zone.pop(zone, None)
            self._buffered[zone] = []
        return heads

    def deliver_snapshot(self, heads: ZoneCursors, sync: Sync) -> bool:
        """Deliver the snapshot, and then the pushes that waited for it.

        Return True if the snapshot is older than the head of the socket in a zone. The events between the snapshot and
        the head do not come on this socket, so further pushes of the zone are buffered until the next connection.
        """
        cursors = Cursors.parse((sync.snapshot or {}).get("cursor", ""))
        for zone, head in heads.items():
            self.cursors.set_cursor(zone, cursors.get(zone, head))
        behind = [zone for zone, head in heads.items() if self.cursors.is_behind(zone, head)]
        if self._listeners.sync is not None:
            call_listener(self._listeners.sync, sync)
        for zone in heads:
            buffered = self._buffered.pop(zone, [])
            if zone in behind:
                self._buffered[zone] = []
                continue
            for push in buffered:
                self.deliver_push(push)
        return bool(behind)

    def deliver_push(self, push: Frame) -> None:
        """Deliver one push. Raises Ended if a listener raises; then the push does not count as handled."""
        if "seq" not in push:
            call_listener(self._listeners.event, push)
        elif push["zone"] in self._buffered:
            self._buffered[push["zone"]].append(push)
        else:
            call_listener(self._listeners.event if self.cursors.is_new(push) else self._listeners.repeat, push)
            self.cursors.mark_handled(push)

    def advance_to_head(self, frame: Frame) -> None:
        """Advance the cursor to the position in a head frame. A head frame says that the server has sent all events of
        this user up to that position.
        """
        if frame["zone"] not in self._buffered:
            self.cursors.advance(frame["zone"], frame["epoch"], frame["seq"])
