"""Compare the received events of users with the log during a run, without storing either of them.

Each entry of the log that is addressed to a user must reach them within ``DELIVERY_S`` seconds of connected time. After
a reconnect with ``recovered``, missed events are still expected, because the server sends them then. At a reconnect
that is not recovered the server reports a gap, and nothing older is expected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.types import DEFAULT_ZONE, Principal

DELIVERY_S = 15.0


@dataclass(slots=True)
class _Reader:
    """One user. ``expected`` has the time (s) at which each entry was read from the log, by seq. ``early`` are the seqs
    that the user received before the log was read. ``connected_at_s`` is None while they are not connected.
    """

    channels: frozenset[str]
    after: int
    connected_at_s: float | None
    expected: dict[int, float] = field(default_factory=dict)
    early: set[int] = field(default_factory=set)


class LiveDelivery:
    """The comparison of one zone. All times are monotonic seconds."""

    def __init__(self) -> None:
        self.lost = self.compared = 0
        self.last_seq = 0
        self._readers: dict[str, _Reader] = {}
        self._ids_by_channel: dict[str, set[str]] = defaultdict(set)

    def record_join(self, ok: dict[str, Any], now_s: float) -> None:
        """Record the reply to ``connect``."""
        user, zone = ok["user"], ok["zones"].get(DEFAULT_ZONE)
        if zone is None:
            return
        known = self._readers.get(user["id"])
        if known is not None and zone["recovered"]:
            known.connected_at_s = now_s
            return
        channels = frozenset(Principal(user["id"], user["role"]).channels)
        self._readers[user["id"]] = _Reader(channels, zone["seq"], now_s)
        for channel in channels:
            self._ids_by_channel[channel].add(user["id"])

    def record_disconnect(self, user: str) -> None:
        """Record that the user is not connected now."""
        if reader := self._readers.get(user):
            reader.connected_at_s = None

    def record_leave(self, user: str) -> None:
        """Expect nothing at the user any more."""
        if reader := self._readers.pop(user, None):
            for channel in reader.channels:
                self._ids_by_channel[channel].discard(user)

    def record_event(self, user: str, event: dict[str, Any]) -> None:
        """Record a push that the user handled."""
        reader = self._readers.get(user)
        if reader is None or "seq" not in event or event["zone"] != DEFAULT_ZONE:
            return
        if reader.expected.pop(event["seq"], None) is not None:
            self.compared += 1
        elif event["seq"] > self.last_seq:
            reader.early.add(event["seq"])

    def record_entry(self, seq: int, event_type: str, channels: Iterable[str], now_s: float) -> None:
        """Record the next entry of the log."""
        self.last_seq = seq
        if event_type.startswith("session."):
            return
        for user in set().union(*(self._ids_by_channel.get(channel, ()) for channel in channels)):
            reader = self._readers[user]
            if seq in reader.early:
                reader.early.discard(seq)
                self.compared += 1
            elif seq > reader.after:
                reader.expected[seq] = now_s

    def settle(self, now_s: float) -> None:
        """Count the entries as lost that did not reach their user within ``DELIVERY_S`` seconds."""
        for reader in self._readers.values():
            reader.early = {seq for seq in reader.early if seq > self.last_seq}
            if reader.connected_at_s is None:
                continue
            since_s = reader.connected_at_s
            late = [seq for seq, at_s in reader.expected.items() if max(at_s, since_s) + DELIVERY_S < now_s]
            for seq in late:
                del reader.expected[seq]
            self.lost += len(late)
            self.compared += len(late)
