"""How far this gateway has read a zone's log, and in which epoch. Sessions join a zone here and wait for its events."""

from __future__ import annotations

import asyncio

from engine.errors import Unavailable
from engine.types import Cursor, Epoch, Zone
from server.gateway.replay_buffer import ReplayBuffer

WAIT_S = 2.0
"""How many seconds a client waits for the relay at most."""
NEVER = 2**63
"""The seq to pass to ``changed`` in order to wait for another epoch only: no log reaches it."""


class ZoneStream:
    """The relay's reading position in one zone's log, with the zone's epochs and its replay buffer."""

    __slots__ = ("_waiting", "cursor", "epoch", "epochs", "memory", "shut", "zone")

    def __init__(self, zone: Zone, memory: ReplayBuffer) -> None:
        self.zone = zone
        self.memory = memory
        self.epoch = Epoch("")
        """The latest epoch, "" while there is none or while the relay reads the log into the replay buffer."""
        self.shut = False
        """Whether the zone is closed in Redis, so that it has no epoch to join."""
        self.epochs: dict[Epoch, int] = {}
        self.cursor = 0
        """The seq of the last event that was passed to the hubs. No session has been sent a later event."""
        self._waiting: dict[asyncio.Future[None], int] = {}

    @property
    def open(self) -> bool:
        """Return whether sessions can join this zone."""
        return self.epoch != "" and not self.shut

    @property
    def head(self) -> Cursor:
        """Return the cursor of a session that has been sent all events so far."""
        return Cursor(self.epoch, self.cursor)

    async def changed(self, seq: int, within_s: float) -> None:
        """Wait until the relay has passed ``seq`` or found another epoch, but at most ``within_s`` seconds."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = seq
        try:
            await asyncio.wait([future], timeout=within_s)
        finally:
            del self._waiting[future]

    async def read(self) -> None:
        """Wait while the relay reads the log into the replay buffer. Raises Unavailable after ``WAIT_S`` seconds."""
        if self.epoch == "" and not self.shut:
            await self.changed(NEVER, WAIT_S)
            if self.epoch == "" and not self.shut:
                raise Unavailable("The log is being read")

    def tell_waiting(self, *, everybody: bool = False) -> None:
        """Wake the waiting sessions whose seq was passed; ``everybody``: wake all of them."""
        for future, seq in self._waiting.items():
            if (everybody or seq <= self.cursor) and not future.done():
                future.set_result(None)
