"""Zones whose logs the relay reads with one command: all of them, or in a cluster those of one slot."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic

from engine.events import Event
from engine.types import Zone
from server.gateway.stream_reader import READ_BLOCK_S
from server.gateway.zone_stream import ZoneStream


@dataclass(slots=True)
class ZoneGroup:
    """The zones that the relay reads over one connection, and the state of that connection. ``run_id`` is Redis' own id
    of the server process at the other end of the connection.
    """

    tails: dict[Zone, ZoneStream]
    run_id: str = ""
    unopened: set[Zone] = field(default_factory=set)
    """Zones that may still be opened under a new epoch in this run of Redis."""
    is_loaded: bool = False
    """Whether the logs were read into the replay buffers for the first time."""
    last_reply_at: float = field(default_factory=monotonic)
    checked_at: float = 0.0
    """When the histories of all zones were last checked."""

    def zones_to_check(self, events: Sequence[Event]) -> Collection[Zone]:
        """Return the zones whose history is to be checked before ``events`` are handed on. Once a second these are all
        zones. Otherwise they are the zones in which an epoch may have begun since the relay connected, because
        ``events`` may be the first of that epoch. All zones each time would cost two calls to Redis for each zone.
        """
        if not events or monotonic() - self.checked_at > READ_BLOCK_S:
            return self.tails
        return self.unopened and self.unopened.intersection(event.zone for event in events)
