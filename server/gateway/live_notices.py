"""The feeds of a gateway that need only its hubs, by the type of the message that they handle."""

from __future__ import annotations

from collections.abc import Sequence

from engine.domain.demand_pulse import PublishedDemand
from engine.domain.positions import PublishedRate
from engine.domain.room_typing import PublishedTyping
from server.gateway.demand_feed import DemandFeed
from server.gateway.fix_rates import FixRateFeed
from server.gateway.frames import PayloadEncoder
from server.gateway.hub import Hub
from server.gateway.live_feed import LiveHandlers
from server.gateway.typing_feed import TypingFeed


def notice_handlers(hubs: Sequence[Hub], payloads: PayloadEncoder) -> LiveHandlers:
    """Return the function that handles each type of message."""
    return {
        PublishedRate: FixRateFeed(hubs, payloads).handle_rate,
        PublishedTyping: TypingFeed(hubs, payloads).handle_typing,
        PublishedDemand: DemandFeed(hubs, payloads).handle_demand,
    }
