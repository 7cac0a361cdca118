"""What a client hears, from whichever transport: each push once, in order, and after the snapshot it follows from."""

from __future__ import annotations

from collections.abc import Mapping

from callout_client.cursors import Cursors, Places
from callout_client.listeners import Frame, On, Sync, tell


class Feed:
    """Cursors, listeners, and the pushes of zones whose snapshot is under way. No input nor output."""

    def __init__(self, on: On, cursors: Places | None = None) -> None:
        self.cursors = Cursors(cursors)
        self._on = on
        self._held: dict[str, list[Frame]] = {}

    def join(self, zones: Mapping[str, Frame]) -> Places:
        """A socket begins at these heads; gives those of the zones that wait for a snapshot from now on."""
        self._held.clear()
        return self._lost(self.cursors.join(zones))

    def unjoin(self) -> None:
        """There is no socket, and what it still owed will come another way."""
        self._held.clear()
        self.cursors.forget_joining()

    def polled(self, answer: Frame) -> Places:
        """Take the answer to a poll; gives the heads of the zones that wait for a snapshot from now on."""
        self._held.clear()
        for push in answer["events"]:
            self.push(push)
        places = Cursors.parse(answer["cursor"])
        if not answer["recovered"]:
            return self._lost(places)
        for zone, place in places.items():
            self.cursors.reach(zone, place["epoch"], place["seq"])
        return {}

    def _lost(self, heads: Places) -> Places:
        if self._on.sync is None:
            for zone, head in heads.items():
                self.cursors.begin(zone, head)
            return {}
        for zone in heads:
            self.cursors.places.pop(zone, None)
            self._held[zone] = []
        return heads

    def begin(self, heads: Places, sync: Sync) -> bool:
        """Tell of the snapshot, and then of what came meanwhile. True where it is older than what the socket began
        with: what lies between will not come on this one, so nothing of that zone is handed on before the next.
        """
        found = Cursors.parse((sync.snapshot or {}).get("cursor", ""))
        for zone, head in heads.items():
            self.cursors.begin(zone, found.get(zone, head))
        behind = [zone for zone, head in heads.items() if self.cursors.is_behind(zone, head)]
        if self._on.sync is not None:
            tell(self._on.sync, sync)
        for zone in heads:
            held = self._held.pop(zone, [])
            if zone in behind:
                self._held[zone] = []
                continue
            for push in held:
                self.push(push)
        return bool(behind)

    def push(self, push: Frame) -> None:
        """One push. Raises Ended where a listener raises: then it does not count as handled."""
        if "seq" not in push:
            tell(self._on.event, push)
        elif push["zone"] in self._held:
            self._held[push["zone"]].append(push)
        else:
            tell(self._on.event if self.cursors.is_new(push) else self._on.repeat, push)
            self.cursors.handled(push)

    def head(self, frame: Frame) -> None:
        """Everything up to here that concerns us was sent."""
        if frame["zone"] not in self._held:
            self.cursors.reach(frame["zone"], frame["epoch"], frame["seq"])
