"""How far this gateway has read a zone's log, and in which epoch. Sessions join a zone here and wait for its events."""

from __future__ import annotations

import asyncio

from engine.errors import Unavailable
from engine.types import Cursor, Epoch, Zone
from server.gateway.replay_buffer import ReplayBuffer

MAX_WAIT_S = 2.0
"""How many seconds a client waits for the relay at most."""
UNREACHABLE_SEQ = 2**63
"""The seq to pass to ``wait_for_seq`` in order to wait for another epoch only: no log reaches it."""


class ZoneStream:
    """The relay's reading position in one zone's log, with the zone's epochs and its replay buffer."""

    __slots__ = ("_waiting", "buffer", "cursor", "epoch", "epochs", "is_closed", "zone")

    def __init__(self, zone: Zone, buffer: ReplayBuffer) -> None:
        self.zone = zone
        self.buffer = buffer
        self.epoch = Epoch("")
        """The latest epoch, "" while there is none or while the relay reads the log into the replay buffer."""
        self.is_closed = False
        """Whether the zone is closed in Redis, so that it has no epoch to join."""
        self.epochs: dict[Epoch, int] = {}
        self.cursor = 0
        """The seq of the last event that was passed to the hubs. No session has been sent a later event."""
        self._waiting: dict[asyncio.Future[None], int] = {}

    @property
    def is_open(self) -> bool:
        """Return whether sessions can join this zone."""
        return self.epoch != "" and not self.is_closed

    @property
    def head(self) -> Cursor:
        """Return the cursor of a session that has been sent all events so far."""
        return Cursor(self.epoch, self.cursor)

    async def wait_for_seq(self, seq: int, within_s: float) -> None:
        """Wait until the relay has passed ``seq`` or found another epoch, but at most ``within_s`` seconds."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = seq
        try:
            await asyncio.wait([future], timeout=within_s)
        finally:
            del self._waiting[future]

    async def wait_until_read(self) -> None:
        """Wait while the relay reads the log into the replay buffer. Raises Unavailable after ``MAX_WAIT_S``."""
        if self.epoch == "" and not self.is_closed:
            await self.wait_for_seq(UNREACHABLE_SEQ, MAX_WAIT_S)
            if self.epoch == "" and not self.is_closed:
                raise Unavailable("The log is being read")

    def wake_waiting(self, *, wake_all: bool = False) -> None:
        """Wake the sessions that wait for a seq that the relay has passed. ``wake_all``: wake all waiting sessions."""
        for future, seq in self._waiting.items():
            if (wake_all or seq <= self.cursor) and not future.done():
                future.set_result(None)
