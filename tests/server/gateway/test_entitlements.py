"""How long a session may receive events beyond its own channels: subscriptions to a job, and new orders that a
technician may take.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.domain import disputes, jobs
from engine.domain.commands import CommandInput
from engine.store import keys
from engine.technicians import live as technicians
from engine.types import DEFAULT_ZONE, Principal, ServiceId, TechnicianId, UserId
from tests.server.gateway.conftest import Client, Node
from tests.server.gateway.test_position_feed import JobUnderWay, assert_no_position, next_position, start_job
from tests.support import people
from tests.support.epochs import epoch_name
from tests.support.photos import attach_photos

OPS_CALLER = Principal(UserId("boss"), "admin")


async def subscribe_to_job(client: Client, job: str) -> dict[str, Any]:
    """Subscribe to a job, assert that it is granted, and return the reply."""
    reply: dict[str, Any] = (await client.request(op="subscribe", channel=f"job:{job}"))["ok"]
    return reply


async def received_pushes(node: Node, client: Client, kind: str | None = None) -> list[dict[str, Any]]:
    """Return the pushes of type ``kind`` that a client has received by now. ``kind`` None returns all types."""
    await node.wait_until_relayed(int(await node.engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "seq") or 0))
    pong = await client.request(op="ping")
    while len([push for push in client.pushes if "seq" in push]) < pong["ok"]["n"]:
        client.pushes.append(await client.receive())
    return [push for push in client.pushes if kind in (None, push["type"])]


# Subscriptions


async def test_a_former_holder_receives_nothing_more_of_the_job(node: Node) -> None:
    """A technician who subscribed to a job as its holder, and from whom the job was reassigned, receives neither its
    events nor the positions of its next holder.
    """
    service = await people.service(node.engine)
    trip = await start_job(node, service=service)
    tara = await people.technician(node.engine, "tara", service)
    async with node.connect("t1", "technician") as former_holder, node.connect(trip.customer.id) as watcher:
        await subscribe_to_job(former_holder, trip.job)
        await jobs.run_command(
            node.engine, OPS_CALLER, trip.job, CommandInput(command="reassign", technician="tara", reason="late")
        )
        await jobs.run_command(node.engine, tara, trip.job, CommandInput(command="depart"))
        assert await received_pushes(node, former_holder, "job.status") == []
        [unassigned] = await received_pushes(node, former_holder, "job.unassigned")
        assert "customer" not in unassigned["data"]["job"] and unassigned["data"]["job"]["technician"] is None
        await JobUnderWay(node, trip.customer, tara, trip.job).send_fix(40.77)
        assert (await next_position(watcher))["data"]["lat"] == 40.77
        await assert_no_position(former_holder)
        refused = await former_holder.request(op="subscribe", channel=f"job:{trip.job}")
        assert refused["error"]["code"] == "not_found"


async def test_a_mediator_receives_events_until_the_dispute_is_resolved(node: Node) -> None:
    """A mediator who is subscribed to a job receives its events while the dispute is open. Afterwards the mediator
    receives none of them, live or in a replay.
    """
    engine = node.engine
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = people.id_of(await people.job(engine, carla, service, blueprint="direct_booking", technician="tom"))
    await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    outcome = await disputes.open_dispute(engine, carla, job, "It leaks")
    dispute = str(msgspec.json.decode(outcome.dispute)["id"])
    mediator = Principal(UserId("mia"), "mediator")
    async with node.connect("mia", "mediator") as mia:
        assert (await subscribe_to_job(mia, job))["job"]["frozen"] is True
        await disputes.resolve_dispute(engine, mediator, dispute, "resume")
        [resolved] = await received_pushes(node, mia, "job.resolved")
        # The public part, as for all mediators: the subscription has ended.
        assert "customer" not in resolved["data"]["job"]
        await jobs.run_command(engine, tom, job, CommandInput(command="start"))
        assert [push["type"] for push in await received_pushes(node, mia)] == ["job.resolved", "room.left"]
    hello: dict[str, Any] = {"cursors": {"main": {"epoch": epoch_name(1), "seq": 0}}, "subs": [f"job:{job}"]}
    async with node.connect("mia", "mediator", **hello) as again:
        pushes = [(push["type"], "customer" in str(push["data"])) for push in await received_pushes(node, again)]
        assert pushes == [
            *(("job.disputed", False), ("mediator.invited", False), ("job.resolved", False)),
            ("room.left", True),  # with the room's members
        ]


@pytest.mark.parametrize("blueprint", ["direct_booking", "managed"])
async def test_all_mediators_receive_disputes(node: Node, blueprint: str) -> None:
    """Every mediator receives the id, job and reason of a dispute with the job's public part, live and in a replay.
    They receive neither the whole job nor the note of the outcome.
    """
    engine = node.engine
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    more: dict[str, Any] = {"technician": "tom"} if blueprint == "direct_booking" else {}
    job = people.id_of(await people.job(engine, carla, service, blueprint=blueprint, notes="gate 4711", **more))
    if blueprint == "managed":
        await jobs.run_command(engine, OPS_CALLER, job, CommandInput(command="assign", technician="tom"))
    for command in ("accept", "depart", "start", "finish") if blueprint == "managed" else ("accept",):
        if command == "finish":
            await attach_photos(engine, tom, job)
        await jobs.run_command(engine, tom, job, CommandInput(command=command))
    async with node.connect("max", "mediator") as live:
        dispute = msgspec.json.decode((await disputes.open_dispute(engine, carla, job, "It leaks")).dispute)
        mia = Principal(UserId("mia"), "mediator")
        await disputes.resolve_dispute(engine, mia, dispute["id"], "resume", note="The key of gate 4711")
        live_pushes = await received_pushes(node, live)
    hello: dict[str, Any] = {"cursors": {"main": {"epoch": epoch_name(1), "seq": 0}}}
    async with node.connect("max", "mediator", **hello) as again:
        assert [push["data"] for push in await received_pushes(node, again)] == [push["data"] for push in live_pushes]
    assert [push["data"]["dispute"] for push in live_pushes] == [
        {"id": dispute["id"], "job": job, "reason": "It leaks", "status": "open"},
        {"id": dispute["id"], "job": job, "reason": "It leaks", "status": "open"},  # mediator.invited
        {"id": dispute["id"], "job": job, "status": "resolved"},
    ]
    assert "'customer'" not in str(live_pushes) and "gate 4711" not in str(live_pushes)


async def test_a_subscribed_service_receives_the_steps_of_a_job(node: Node) -> None:
    """A service that subscribes to a job receives its events after the seq in the reply. A technician who only has an
    offer of the job may not subscribe.
    """
    engine = node.engine
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, carla, service)
    async with node.connect("money", "service") as money, node.connect("tom", "technician") as toms:
        refused = await toms.request(op="subscribe", channel=f"job:{job}")
        assert refused["error"]["code"] == "not_found"
        received_from = (await subscribe_to_job(money, job))["seq"]
        outcome = await jobs.claim(engine, tom, job)
        [accepted] = await received_pushes(node, money, "job.accepted")
        assert accepted["seq"] == outcome.seq > received_from


# Work


async def book_order(node: Node, carla: Principal, service: ServiceId) -> str:
    """Book an order of the blueprint `delivery`, and return its id. Technicians of the service receive its
    `job.created`.
    """
    return people.id_of(
        await people.job(node.engine, carla, service, blueprint="delivery", amount=500, notes="gate 4711")
    )


async def put_profile(
    node: Node, technician: str, services: list[ServiceId], version: int, account: str = "approved"
) -> None:
    """Write the Redis record of a technician who is offline."""
    await technicians.write_record(
        node.engine,
        technicians.TechnicianRecord(
            id=TechnicianId(UserId(technician)),
            version=version,
            name=technician,
            phone="+1 555 0199",
            services=services,
            complete=True,
            kyc="approved",
            account=account,
            capacity=1,
        ),
    )


async def received_orders(node: Node, client: Client) -> list[str]:
    """Return the ids of the orders whose `job.created` a client has received."""
    return [push["data"]["job"]["id"] for push in await received_pushes(node, client, "job.created")]


@pytest.mark.parametrize("remembered", [True, False], ids=["memory", "log"])
async def test_orders_from_before_the_approval_are_not_replayed(node: Node, remembered: bool) -> None:
    """A replay contains orders from after the approval of the technician, without their notes. It contains no order
    from before the approval and none of another service.
    """
    service, other, carla = *[await people.service(node.engine) for _ in "ab"], await people.customer(node.engine)
    await book_order(node, carla, service)
    await put_profile(node, "tom", [service], 1, account="pending")
    await book_order(node, carla, service)
    await put_profile(node, "tom", [service], 2)
    job = await book_order(node, carla, service)
    await book_order(node, carla, other)
    await node.wait_until_relayed(int(await node.engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "seq") or 0))
    if not remembered:
        node.gateway.relay.tails[DEFAULT_ZONE].buffer.clear()
    async with node.connect("tom", "technician", cursors={"main": {"epoch": epoch_name(1), "seq": 0}}) as tom:
        assert await received_orders(node, tom) == [job]
        assert "gate 4711" not in str(tom.pushes)


async def test_a_live_session_receives_the_orders_its_technician_may_take(node: Node) -> None:
    """A session receives new orders of the technician's services from the approval until the suspension. A change of
    services takes effect at once. A technician without a service receives no order.
    """
    service, other, carla = *[await people.service(node.engine) for _ in "ab"], await people.customer(node.engine)
    async with node.connect("tom", "technician") as tom, node.connect("gus", "technician") as gus:
        await book_order(node, carla, service)
        assert await received_orders(node, tom) == []
        await put_profile(node, "tom", [service], 1)
        first = await book_order(node, carla, service)
        assert await received_orders(node, tom) == [first]
        await put_profile(node, "tom", [other], 2)
        await book_order(node, carla, service)
        second = await book_order(node, carla, other)
        assert await received_orders(node, tom) == [first, second]
        await put_profile(node, "tom", [other], 3, account="suspended")
        await book_order(node, carla, other)
        assert await received_orders(node, tom) == [first, second]
        assert await received_pushes(node, gus) == []
