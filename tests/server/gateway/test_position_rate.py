"""How often the positions of one job are sent."""

from __future__ import annotations

import time

import pytest

from engine.domain.positions import PublishedFix
from server.gateway import position_feed
from tests.server.gateway.conftest import Node
from tests.server.gateway.test_position_feed import assert_no_position, next_position, start_job
from tests.support.wait import wait_until


async def test_a_fix_at_the_moment_of_a_late_send_is_sent_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the gateway is late with a position when the next fix arrives, that fix is sent once."""
    trip, published = await start_job(node), []
    handle_fix = node.gateway.positions.handle_fix
    monkeypatch.setitem(node.gateway.live._handlers, PublishedFix, lambda *fix: published.append(fix))
    for step in range(3):
        await trip.send_fix(40.70 + step / 1000, ago_s=3 - step)
    await wait_until(lambda: len(published) == 3)
    async with node.connect(trip.customer.id) as client:
        handle_fix(*published[0])
        handle_fix(*published[1])
        time.sleep(position_feed.MIN_INTERVAL_S)  # noqa: ASYNC251 - the event loop is late
        handle_fix(*published[2])
        assert [(await next_position(client))["data"]["lat"] for _ in range(2)] == pytest.approx([40.70, 40.702])
        await assert_no_position(client)
