"""Tells technicians' apps how often to send a fix, when that changes."""

from __future__ import annotations

from collections.abc import Sequence

from engine.clock import now_ms
from engine.domain.positions import PublishedRate
from engine.rules.fixes import FixRate
from engine.types import Zone
from server.gateway.frames import PayloadEncoder
from server.gateway.hub import Hub

FIX_TYPE = "fix"


class FixRateFeed:
    """The sender of the push ``fix``: it gives a technician's sessions at one gateway the new rate for sending
    positions.
    """

    def __init__(self, hubs: Sequence[Hub], payloads: PayloadEncoder) -> None:
        self._hubs = hubs
        self._payloads = payloads

    def handle_rate(self, _: Zone, rate: PublishedRate) -> None:
        """Send the changed rate to the technician's sessions. The push may be lost: the reply to ``connect`` has the
        present rate.
        """
        payload = self._payloads.encode_live_push(FIX_TYPE, now_ms(), FixRate(rate.every_s, rate.distance_m))
        for hub in self._hubs:
            for session in hub.members(f"user:{rate.technician}"):
                session.push_lossy(FIX_TYPE, hub.frames.frame(payload))
