"""What clients receive of a technician's arrival: the ETA beside positions, and each of the two events once."""

from __future__ import annotations

from contextlib import AsyncExitStack

import msgspec

from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import Role
from server.schemas.positions import Position
from tests.server.gateway.conftest import Node
from tests.server.gateway.test_position_feed import next_position, start_job
from tests.support import people

ARRIVALS = ("technician.near", "technician.arrived")


async def test_the_arrival_is_told_to_the_parties_and_ops(node: Node) -> None:
    """Customer, holder and ops receive `technician.near` and `technician.arrived` once each, in order; other customers,
    technicians, services and mediators receive neither.
    """
    trip = await start_job(node)
    others: dict[str, Role] = {"stranger": "customer", "t2": "technician", "pay": "service", "m": "mediator"}
    inside: dict[str, Role] = {trip.customer.id: "customer", "t1": "technician", "boss": "ops_manager"}
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(node.connect(name, role))
            for name, role in {**others, **inside}.items()
        }
        for metres in (400, 20, 10, 10):
            fix = Fix(lat=people.HERE.lat + metres / 111_195, lon=people.HERE.lon, accuracy=8.0, speed=0.5)
            await live.store_fixes(node.engine, trip.driver, "t1", [fix])
        for name in inside:
            kinds = []
            while len(kinds) < 2:
                push = await clients[name].next_push()
                if push["type"] in ARRIVALS:
                    kinds.append(push["type"])
                    assert set(push["data"]) == {"job", "eta_s", "distance_m", "at"}
                    assert push["data"]["job"] == {"id": trip.job}
            assert tuple(kinds) == ARRIVALS
        for name, client in clients.items():
            await client.request(op="ping")
            assert not [push for push in client.pushes if push["type"] in ARRIVALS], name


async def test_a_position_on_the_way_has_an_eta(node: Node) -> None:
    """Each position of a technician on the way has their arrival time. A stale position has none, such as an old fix
    that comes late, or the last position when it is sent again as stale.
    """
    trip = await start_job(node)
    async with node.connect(trip.customer.id) as customer:
        await trip.send_fix(people.HERE.lat + 2000 / 111_195, ago_s=100)
        assert "eta_s" not in (await next_position(customer))["data"]
        await trip.send_fix(people.HERE.lat + 1000 / 111_195)
        data = (await next_position(customer))["data"]
        position = msgspec.convert(data, Position)
        assert position.eta_s is not None and 100 <= position.eta_s <= 300 and position.source == "learned"
        assert position.low and position.high and position.arrives_at
        assert position.at < position.low <= position.arrives_at <= position.high
        track = node.gateway.positions._tracks[trip.job]
        track.fix = msgspec.structs.replace(track.fix, at=track.fix.at - 100_000)
        node.gateway.positions.resend_stale_positions()
        stale = (await next_position(customer))["data"]
        assert stale["stale"] and "eta_s" not in stale and "arrives_at" not in stale
