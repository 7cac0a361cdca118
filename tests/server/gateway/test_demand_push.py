"""The live push `demand`: its recipients, and that it contains only changes."""

from __future__ import annotations

import msgspec

from engine.rules.pulse import CELL_RESOLUTION, cell_at
from engine.technicians.live import Coordinates
from engine.types import DEFAULT_ZONE
from engine.workers import archiver, demand
from server.schemas.demand import DemandChanged
from tests.engine.test_demand_chore import CELLS, SUBURB, fill_counts, this_hour
from tests.server.gateway.conftest import Node
from tests.support import people


async def test_consoles_receive_the_areas_that_changed(node: Node) -> None:
    """Ops who are subscribed to the zone receive the cells that changed since the last look, and no push if none
    changed. Ops without a subscription receive nothing.
    """
    engine = node.engine
    customer, service = await people.customer(engine), await people.service(engine)
    await people.job(engine, customer, service)
    await archiver.run_once(engine)
    chore = demand.ZoneChore(engine, DEFAULT_ZONE)
    await chore.look()
    async with node.connect("boss", "admin") as console, node.connect("other", "admin") as other:
        await console.request(op="subscribe", channel="zone:main")
        await chore.look()
        await people.job(engine, customer, service)
        await archiver.run_once(engine)
        await chore.look()
        while (push := await console.next_push())["type"] != "demand":
            pass
        data = msgspec.convert(push["data"], DemandChanged)
        cell = cell_at(people.HERE.lat, people.HERE.lon)
        assert (data.zone, data.by, CELL_RESOLUTION) == ("main", "cell", 8)
        assert [(each.area, each.waiting, each.multiplier) for each in data.items] == [(cell, 2, 1000)]
        assert "seq" not in push
        await other.request(op="ping")  # the gateway handled the message for all of its sessions at once
        assert "demand" not in [each["type"] for each in other.pushes]


async def test_a_score_that_changes_alone_is_sent(node: Node) -> None:
    """Jobs that wait in a quiet cell lower the score of a busy one, in which nothing happens. Consoles receive both."""
    engine = node.engine
    customer, service = await people.customer(engine), await people.service(engine)
    await fill_counts(engine, 1, await this_hour(engine) - 1)
    chore = demand.ZoneChore(engine, DEFAULT_ZONE)
    await chore.look()
    async with node.connect("boss", "admin") as console:
        await console.request(op="subscribe", channel="zone:main")
        for _ in range(20):
            await people.job(engine, customer, service, at=Coordinates(*SUBURB))
        await archiver.run_once(engine)
        await chore.look()
        while (push := await console.next_push())["type"] != "demand":
            pass
        scores = {each["area"]: (each["score"], each["waiting"]) for each in push["data"]["items"]}
        assert scores == {CELLS["centre"]: (0.0, 0), CELLS["suburb"]: (100.0, 20)}
