"""Send the changed areas of a zone to consoles of staff, at most once a minute for each kind of area."""

from __future__ import annotations

from collections.abc import Sequence

from engine.clock import now_ms
from engine.domain.demand_pulse import PublishedDemand
from engine.types import Zone
from server.gateway.frames import PayloadEncoder
from server.gateway.hub import Hub

DEMAND_TYPE = "demand"


class DemandFeed:
    """The sender of the push ``demand`` to the sessions of one gateway that are subscribed to a zone; only ops can be.
    A push may be lost, because ``GET /v1/demand`` has everything.
    """

    def __init__(self, hubs: Sequence[Hub], payloads: PayloadEncoder) -> None:
        self._hubs = hubs
        self._payloads = payloads

    def handle_demand(self, zone: Zone, demand: PublishedDemand) -> None:
        """Send the changed areas."""
        data = {"zone": zone, **{name: getattr(demand, name) for name in ("by", "items", "as_of")}}
        payload = self._payloads.encode_live_push(DEMAND_TYPE, now_ms(), data)
        for hub in self._hubs:
            for session in hub.members(f"zone:{zone}"):
                session.push_lossy(DEMAND_TYPE, hub.frames.frame(payload))
