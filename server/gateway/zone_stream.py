"""How far a zone's log was read here, and under which name: what sessions join, and wait for."""

from __future__ import annotations

import asyncio

from engine.errors import Unavailable
from engine.types import Cursor, Epoch, Zone
from server.gateway.replay_buffer import ReplayBuffer

WAIT_S = 2.0
"""How long a client that comes too early is kept waiting."""
NEVER = 2**63
"""A seq to wait for of one who waits for another epoch."""


class ZoneStream:
    """What the relay knows of one zone."""

    __slots__ = ("_waiting", "cursor", "epoch", "epochs", "memory", "shut", "zone")

    def __init__(self, zone: Zone, memory: ReplayBuffer) -> None:
        self.zone = zone
        self.memory = memory
        self.epoch = Epoch("")
        """The latest epoch; "" while there is none or the window of the log is being read."""
        self.shut = False
        """Whether the zone is closed in Redis: no life of its log to join."""
        self.epochs: dict[Epoch, int] = {}
        self.cursor = 0
        """The seq of the last event handed on: all that follows is still to come to everybody."""
        self._waiting: dict[asyncio.Future[None], int] = {}

    @property
    def open(self) -> bool:
        """Whether sessions can join this zone."""
        return self.epoch != "" and not self.shut

    @property
    def head(self) -> Cursor:
        """Where sessions stand that have been sent everything."""
        return Cursor(self.epoch, self.cursor)

    async def changed(self, seq: int, within_s: float) -> None:
        """Wait until the relay has passed ``seq`` or learnt of another epoch, ``within_s`` seconds at
        most.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = seq
        try:
            await asyncio.wait([future], timeout=within_s)
        finally:
            del self._waiting[future]

    async def read(self) -> None:
        """Wait while the window of the log is being read. Raises Unavailable when that takes too long."""
        if self.epoch == "" and not self.shut:
            await self.changed(NEVER, WAIT_S)
            if self.epoch == "" and not self.shut:
                raise Unavailable("The log is being read")

    def tell_waiting(self, *, everybody: bool = False) -> None:
        """Wake those whose seq was passed."""
        for future, seq in self._waiting.items():
            if (everybody or seq <= self.cursor) and not future.done():
                future.set_result(None)
