"""A command that waits for Redis, or for its reply."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from engine.store.replica_wait import HeldReplies


class ZoneGate(Protocol):
    """What the pipeline needs to know of a zone: whether commands may run in it, and if not, why."""

    open: bool
    why: str


class PendingCall:
    """A command, packed for the wire, and the future for its reply. ``sent_at`` is the loop's time in seconds. A reply
    that ``waits`` for the replicas is held back in ``held``. A call for a ``zone`` is sent only while the zone is open.
    """

    __slots__ = ("future", "held", "packed", "sent_at", "waits", "zone")

    def __init__(
        self,
        packed: bytes,
        future: asyncio.Future[Any],
        *,
        sent_at: float,
        waits: bool = False,
        zone: ZoneGate | None = None,
    ) -> None:
        self.packed = packed
        self.future = future
        self.sent_at = sent_at
        self.waits = waits
        self.zone = zone
        self.held: HeldReplies | None = None
