"""Count the chat messages that the simulated users say and receive, and find lost and doubled ones.

The messages of a room are numbered from 1 without a gap, and every member receives each of them in this order.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

DELIVERY_S = 10.0
"""A message that a member has not received this long after its sender's reply counts as lost."""
MAX_ROOMS = 1_000


@dataclass(slots=True)
class RoomRecord:
    """The messages of one chat room: the last one, when it was sent, and the last one that each member received."""

    said_n: int = 0
    said_at_s: float = 0.0
    received_n: dict[str, int] = field(default_factory=dict)

    def count_missing(self, user: str | None = None) -> int:
        """Return how many messages ``user`` (None: all members) has not received, of those that were sent
        ``DELIVERY_S`` ago or earlier and therefore count as lost.
        """
        if time.monotonic() < self.said_at_s + DELIVERY_S:
            return 0
        return sum(max(0, self.said_n - n) for member, n in self.received_n.items() if user in (None, member))


class MessageChecker:
    """A record of the messages in the rooms of all simulated users. Old rooms are replaced by counts."""

    def __init__(self) -> None:
        self.said = self.received = self.doubled = 0
        self._lost = 0
        self._rooms: OrderedDict[str, RoomRecord] = OrderedDict()

    def record_member(self, room: str, user: str, last_n: int) -> None:
        """Call this when ``user`` becomes a member of a room whose last message is ``last_n``."""
        self._room(room).received_n.setdefault(user, last_n)

    def forget_member(self, user: str, room: str | None = None) -> None:
        """Expect no more messages at ``user``: they left the room, or the server reported a gap (all rooms)."""
        for record in self._rooms.values() if room is None else [self._room(room)]:
            self._lost += record.count_missing(user)
            record.received_n.pop(user, None)

    def record_said(self, room: str, n: int) -> None:
        """Call this when the server has acknowledged the message ``n`` to its sender."""
        self.said += 1
        record = self._room(room)
        if n > record.said_n:
            record.said_n, record.said_at_s = n, time.monotonic()

    def record_received(self, room: str, user: str, n: int) -> None:
        """Call this when ``user`` receives the message ``n``. The first message of an unknown room is not checked."""
        self.received += 1
        received_n = self._room(room).received_n
        last_n = received_n.get(user, n - 1)
        if n <= last_n:
            self.doubled += 1
            return
        self._lost += n - last_n - 1
        received_n[user] = n

    def lost(self) -> int:
        """Return how many messages a member of their room has not received."""
        return self._lost + sum(room.count_missing() for room in self._rooms.values())

    def _room(self, room: str) -> RoomRecord:
        record = self._rooms.setdefault(room, RoomRecord())
        self._rooms.move_to_end(room)
        if len(self._rooms) > MAX_ROOMS:
            self._lost += self._rooms.popitem(last=False)[1].count_missing()
        return record
