"""How long a right to hear lasts: subscriptions to a job, and the work that a technician may take."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.domain import disputes, jobs
from engine.domain.commands import Step
from engine.store import keys
from engine.technicians import live as technicians
from engine.types import DEFAULT_ZONE, Principal, ServiceId, TechnicianId, UserId
from tests.server.gateway.conftest import Client, Node
from tests.server.gateway.test_position_feed import Ride, nothing, position, ride
from tests.support import people
from tests.support.epochs import epoch_name

OPS = Principal(UserId("boss"), "admin")


async def subscribed(client: Client, job: str) -> dict[str, Any]:
    """The reply to a subscription that is granted."""
    reply: dict[str, Any] = (await client.ask(op="subscribe", channel=f"job:{job}"))["ok"]
    return reply


async def told(node: Node, client: Client, kind: str | None = None) -> list[dict[str, Any]]:
    """What a client has been sent of a type by now; of ``None`` everything."""
    await node.relayed(int(await node.engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "seq") or 0))
    pong = await client.ask(op="ping")
    while len([push for push in client.pushes if "seq" in push]) < pong["ok"]["n"]:
        client.pushes.append(await client.receive())
    return [push for push in client.pushes if kind in (None, push["type"])]


# Subscriptions


async def test_who_left_a_job_hears_nothing_more_of_it(node: Node) -> None:
    """Neither positions of its next technician nor its events, by a subscription made while it was theirs."""
    serves = await people.service(node.engine)
    one = await ride(node, serves=serves)
    tara = await people.technician(node.engine, "tara", serves)
    async with node.client("t1", "technician") as left, node.client(one.customer.id) as watcher:
        await subscribed(left, one.job)
        await jobs.run_command(node.engine, OPS, one.job, Step(command="reassign", technician="tara", reason="late"))
        await jobs.run_command(node.engine, tara, one.job, Step(command="depart"))
        assert await told(node, left, "job.status") == []
        [unassigned] = await told(node, left, "job.unassigned")
        assert "customer" not in unassigned["data"]["job"] and unassigned["data"]["job"]["technician"] is None
        await Ride(node, one.customer, tara, one.job).fix(40.77)
        assert (await position(watcher))["data"]["lat"] == 40.77
        await nothing(left)
        refused = await left.ask(op="subscribe", channel=f"job:{one.job}")
        assert refused["error"]["code"] == "not_found"


async def test_a_mediator_hears_until_the_dispute_is_resolved(node: Node) -> None:
    """The events of the job while it is open, and none of them after, nor at replay."""
    engine = node.engine
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = people.id_of(await people.job(engine, carla, serves, blueprint="direct_booking", technician="tom"))
    await jobs.run_command(engine, tom, job, Step(command="accept"))
    opened = await disputes.create(engine, carla, job, "It leaks")
    dispute = str(msgspec.json.decode(opened.dispute)["id"])
    mediator = Principal(UserId("mia"), "mediator")
    async with node.client("mia", "mediator") as mia:
        assert (await subscribed(mia, job))["job"]["frozen"] is True
        await disputes.resolve(engine, mediator, dispute, "resume")
        [resolved] = await told(node, mia, "job.resolved")
        assert "customer" not in resolved["data"]["job"]  # as all mediators hear: the right to the job is over
        await jobs.run_command(engine, tom, job, Step(command="start"))
        assert len(await told(node, mia)) == 1
    hello: dict[str, Any] = {"cursors": {"main": {"epoch": epoch_name(1), "seq": 0}}, "subs": [f"job:{job}"]}
    async with node.client("mia", "mediator", **hello) as again:
        heard = [(push["type"], "customer" in push["data"]["job"]) for push in await told(node, again)]
        assert heard == [("job.disputed", False), ("job.resolved", False)]


@pytest.mark.parametrize("blueprint", ["direct_booking", "managed"])
async def test_mediators_at_large_hear_that_there_is_a_dispute(node: Node, blueprint: str) -> None:
    """Its id, job and reason beside the job's public part, live and at replay; never the whole job nor the outcome."""
    engine = node.engine
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    more: dict[str, Any] = {"technician": "tom"} if blueprint == "direct_booking" else {}
    job = people.id_of(await people.job(engine, carla, serves, blueprint=blueprint, notes="4711", **more))
    if blueprint == "managed":
        await jobs.run_command(engine, OPS, job, Step(command="assign", technician="tom"))
    for command in ("accept", "depart", "start", "finish") if blueprint == "managed" else ("accept",):
        await jobs.run_command(engine, tom, job, Step(command=command))
    async with node.client("max", "mediator") as live:
        opened = msgspec.json.decode((await disputes.create(engine, carla, job, "It leaks")).dispute)
        mia = Principal(UserId("mia"), "mediator")
        await disputes.resolve(engine, mia, opened["id"], "resume", note="The key is 4711")
        heard = await told(node, live)
    hello: dict[str, Any] = {"cursors": {"main": {"epoch": epoch_name(1), "seq": 0}}}
    async with node.client("max", "mediator", **hello) as again:
        assert [push["data"] for push in await told(node, again)] == [push["data"] for push in heard]
    assert [push["data"]["dispute"] for push in heard] == [
        {"id": opened["id"], "job": job, "reason": "It leaks", "status": "open"},
        {"id": opened["id"], "job": job, "status": "resolved"},
    ]
    assert all("customer" not in push["data"]["job"] for push in heard) and "4711" not in str(heard)


async def test_a_service_that_watches_a_job_hears_its_steps(node: Node) -> None:
    """By a subscription, from the seq that its reply names; a technician who is only offered it may not subscribe."""
    engine = node.engine
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = await people.offered(engine, carla, serves)
    async with node.client("money", "service") as money, node.client("tom", "technician") as toms:
        refused = await toms.ask(op="subscribe", channel=f"job:{job}")
        assert refused["error"]["code"] == "not_found"
        heard_from = (await subscribed(money, job))["seq"]
        done = await jobs.claim(engine, tom, job)
        [accepted] = await told(node, money, "job.accepted")
        assert accepted["seq"] == done.seq > heard_from


# Work


async def ordered(node: Node, carla: Principal, serves: ServiceId) -> str:
    """An order that technicians hear of."""
    return people.id_of(await people.job(node.engine, carla, serves, blueprint="delivery", amount=500, notes="4711"))


async def profile(node: Node, name: str, services: list[ServiceId], version: int, account: str = "approved") -> None:
    """What SQL tells Redis of a technician who is not online."""
    await technicians.write_record(
        node.engine,
        technicians.TechnicianRecord(
            id=TechnicianId(UserId(name)),
            version=version,
            name=name,
            phone="+1 555 0199",
            services=services,
            complete=True,
            kyc="approved",
            account=account,
            capacity=1,
        ),
    )


async def about(node: Node, client: Client) -> list[str]:
    """The orders that a client has been told of."""
    return [push["data"]["job"]["id"] for push in await told(node, client, "job.created")]


@pytest.mark.parametrize("remembered", [True, False], ids=["memory", "log"])
async def test_nothing_from_before_they_could_take_it(node: Node, remembered: bool) -> None:
    """An order from before the review is not replayed, one from after is; without its notes, and not from another
    service.
    """
    serves, other, carla = *[await people.service(node.engine) for _ in "ab"], await people.customer(node.engine)
    await ordered(node, carla, serves)
    await profile(node, "tom", [serves], 1, account="pending")
    await ordered(node, carla, serves)
    await profile(node, "tom", [serves], 2)
    job = await ordered(node, carla, serves)
    await ordered(node, carla, other)
    await node.relayed(int(await node.engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "seq") or 0))
    if not remembered:
        node.gateway.relay.tails[DEFAULT_ZONE].buffer.clear()
    async with node.client("tom", "technician", cursors={"main": {"epoch": epoch_name(1), "seq": 0}}) as tom:
        assert await about(node, tom) == [job]
        assert "4711" not in str(tom.pushes)


async def test_a_live_session_follows_what_its_technician_may_take(node: Node) -> None:
    """In with the review, out with the suspension, and with each service; a technician of nothing hears of nothing."""
    serves, other, carla = *[await people.service(node.engine) for _ in "ab"], await people.customer(node.engine)
    async with node.client("tom", "technician") as tom, node.client("gus", "technician") as gus:
        await ordered(node, carla, serves)
        assert await about(node, tom) == []
        await profile(node, "tom", [serves], 1)
        first = await ordered(node, carla, serves)
        assert await about(node, tom) == [first]
        await profile(node, "tom", [other], 2)
        await ordered(node, carla, serves)
        second = await ordered(node, carla, other)
        assert await about(node, tom) == [first, second]
        await profile(node, "tom", [other], 3, account="suspended")
        await ordered(node, carla, other)
        assert await about(node, tom) == [first, second]
        assert await told(node, gus) == []
