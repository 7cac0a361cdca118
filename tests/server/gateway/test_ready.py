"""``/readyz`` of a gateway: the gateway is ready when its relay reads every open zone, so that clients can join all of
them."""

from __future__ import annotations

from engine.types import DEFAULT_ZONE
from server.health import Health
from tests.server.gateway.conftest import Node


async def test_a_gateway_is_ready_when_its_relay_has_the_zone(node: Node) -> None:
    """If a zone is open in Redis and the relay has not read it yet, ``/readyz`` names it as a problem: clients could
    not join it."""
    health, stream = Health(node.engine, node.gateway), node.gateway.relay.tails[DEFAULT_ZONE]
    assert health.problems() == []
    stream.is_closed = True
    assert health.problems() == ["zone main is open, but the relay has not read its log yet"]
    stream.is_closed = False
    assert health.problems() == []
