"""A whole trip as real devices send it: vague and impossible fixes, missing measurements, a gap, and a clock that is
five minutes off. It is replayed twice and out of order.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.domain import jobs, positions
from engine.domain.commands import CommandInput
from engine.store import keys
from engine.types import DEFAULT_ZONE
from server.gateway import position_feed
from tests.server.gateway.conftest import Client, Node
from tests.support import people
from tests.support.clock import advance
from tests.support.wait import wait_until

STEPS, STEP_S, STEP_M = 60, 10, 80
"""The trip has 60 fixes, ten seconds and 80 m apart, straight to the north."""
CLOCK_AHEAD_S = 300
"""How far the device's clock is ahead."""
GAP_STEPS = range(30, 38)
"""The steps without a network. Their fixes are sent afterwards, in one batch."""
SECONDS_LEFT_AT_END = 29
"""The age of the last fix at the end of the trip: it becomes stale one second later."""
DEGREES_PER_M = 1 / 111_195
UNMEASURED = {"speed": -1, "heading": -1}
"""What iOS sends if it does not know a value."""


class Device:
    """The technician's device: it measures fixes by its own clock, and remembers all of them."""

    def __init__(self, node: Node, socket: Client) -> None:
        self.node, self.socket = node, socket
        self.noise = random.Random(7)
        self.fixes: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []

    async def measure(self, north_m: float, **more: Any) -> dict[str, Any]:
        """Return a fix ``north_m`` metres from the start, with some metres of noise, by the device's clock."""
        skew = await self.node.engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew")
        at = datetime.fromtimestamp(time.time() + int(skew or 0) / 1000 + CLOCK_AHEAD_S, UTC)
        lat = people.HERE.lat + (north_m + self.noise.uniform(-3, 3)) * DEGREES_PER_M
        lon = people.HERE.lon + self.noise.uniform(-8, 8) * DEGREES_PER_M
        return {"lat": lat, "lon": lon, "at": at.isoformat(), **more}

    async def send(self, **message: Any) -> None:
        """Send fixes as one message."""
        self.replies.append((await self.socket.request(op="location", **message))["ok"])

    async def drive(self) -> None:
        """Send the fixes of the trip. After each fifth fix it sends wrong ones that must not move the marker. During
        the gap it sends nothing: these fixes follow in one batch, out of order, with two invalid positions.
        """
        kinds = [{"accuracy": 6.5, "speed": 8.1, "heading": 2.5}, {"accuracy": 12.0, **UNMEASURED}, {"accuracy": 0}]
        for step in range(1, STEPS + 1):
            await advance(self.node.engine, STEP_S)
            self.fixes.append(await self.measure(step * STEP_M, **kinds[step % 3]))
            if step == GAP_STEPS.stop:
                batch = self.noise.sample(self.fixes[GAP_STEPS.start - 1 :], len(GAP_STEPS) + 1)
                await self.send(fixes=[*batch, {"lat": "?", "lon": 0}, {**batch[0], "lat": 91}])
            elif step not in GAP_STEPS:
                await self.send(**self.fixes[-1])
            if step % 5 == 0 and step not in GAP_STEPS and step != STEPS:
                await self.send(**self.fixes[-2])
                # First the inaccurate place of a cell tower, then an impossible jump.
                for wrong in ({"accuracy": 15_000.0}, {"accuracy": 5.0}):
                    await advance(self.node.engine, 1)
                    await self.send(**await self.measure(step * STEP_M + 50_000, **wrong))
                await advance(self.node.engine, -2)


@pytest.fixture
async def past_node(node: Node, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Set the zone's clock back, so that it shows the real time when the trip ends, and switch off the limit on how
    often positions are sent."""
    monkeypatch.setattr(position_feed, "MIN_INTERVAL_S", 0.0)
    await wait_until(lambda: node.gateway.live.is_subscribed)
    await advance(node.engine, -STEPS * STEP_S - SECONDS_LEFT_AT_END)
    return node


async def test_a_trip_of_real_fixes_moves_the_marker_forward_only(past_node: Node) -> None:
    """The customer sees the marker move only forward, for any fixes of the device at any rate. The device learns how
    far its clock is ahead, and the last position becomes stale.
    """
    engine = past_node.engine
    service, customer = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, customer, service)
    await jobs.claim(engine, tom, job)
    await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    async with past_node.connect(customer.id) as client, past_node.connect("tom", "technician") as driver:
        device = Device(past_node, driver)
        await device.drive()
        assert {round(reply["clock_offset_s"]) for reply in device.replies} == {CLOCK_AHEAD_S}
        seen = [push["data"] for push in await received_positions(client)]
        for _ in range(2):
            shuffled = device.noise.sample(device.fixes, STEPS)
            await device.send(fixes=shuffled)
            for fix in shuffled[:10]:
                await device.send(**fix)
        assert_marker_moves_forward(seen)
        # On a slow machine a position may be replaced by the next one before it is sent.
        assert len(seen) >= (STEPS - len(GAP_STEPS)) // 2
        assert not any(position.get("jump") for position in seen)
        assert seen[-1]["stale"] is False
        last = (await client.next_push())["data"]
        assert (last["at"], last["lat"], last["stale"]) == (seen[-1]["at"], seen[-1]["lat"], True)
        assert await received_positions(client) == []
    position = await positions.read_position(engine, customer, job)
    assert position is not None and (position.lat, position.stale) == (seen[-1]["lat"], True)


async def received_positions(client: Client) -> list[dict[str, Any]]:
    """Return the positions that a client has received and not yet returned."""
    await client.request(op="ping")
    found = [push for push in client.pushes if push["type"] == "position"]
    client.pushes.clear()
    return found


def assert_marker_moves_forward(seen: list[dict[str, Any]]) -> None:
    """Assert that neither the time nor the place of the positions goes back, and that each is on the trip's road."""
    times = [position["at"] for position in seen]
    north = [(position["lat"] - people.HERE.lat) / DEGREES_PER_M for position in seen]
    assert times == sorted(set(times))
    assert north == sorted(north)
    assert all(0 < metres <= STEPS * STEP_M + 3 for metres in north)
