"""Remember which chat rooms staff read without being members, until this is appended to the log."""

from __future__ import annotations

from typing import NamedTuple

from engine.clock import now_ms
from engine.types import Principal, RoomId

MINUTE_MS = 60_000
MAX_WAITING_READINGS = 10_000
"""The most readings that wait to be appended. While Redis answers, a reading waits for less than a second."""


class StaffRead(NamedTuple):
    """One reading by one user in one minute: of a room (``room_read``), or of a room in a list (``rooms_listed``)."""

    action: str
    actor: str
    room: RoomId
    minute: int


class StaffReads:
    """The readings of this process that are not in the log yet. A user's second reading of a room in the same minute is
    no further entry. Therefore the log grows by at most one entry for each user, room and minute, even if a console
    polls often, and a read is never delayed.
    """

    def __init__(self) -> None:
        self._known: set[StaffRead] = set()
        self._waiting: list[StaffRead] = []
        self._lost = 0

    def note(self, action: str, caller: Principal, room: RoomId) -> None:
        """Record that ``caller`` read a room."""
        read = StaffRead(action, f"{caller.role}:{caller.id}", room, now_ms() // MINUTE_MS)
        if read in self._known:
            return
        if len(self._waiting) >= MAX_WAITING_READINGS:
            self._lost += 1
            return
        self._known.add(read)
        self._waiting.append(read)

    def take(self) -> tuple[list[StaffRead], int]:
        """Return and remove the readings that wait to be appended to the log. Return also how many were lost because
        too many waited. Also forget which rooms were read in earlier minutes, because a further reading belongs to a
        new minute.
        """
        minute = now_ms() // MINUTE_MS
        self._known = {read for read in self._known if read.minute == minute}
        taken, self._waiting = self._waiting, []
        lost, self._lost = self._lost, 0
        return taken, lost

    def put_back(self, reads: list[StaffRead]) -> None:
        """Queue readings again that could not be appended to the log."""
        self._waiting[:0] = reads
