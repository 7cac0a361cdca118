"""`delivery`: an order, a driver on the map, an admin board, and the audience of each event."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from tests.story.conftest import Person, Town
from tests.support.wait import wait_until

SHOP = {"lat": 40.75, "lon": -73.99, "address": "1 Main St", "amount": 2550, "currency": "EUR", "notes": "no onions"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A zone whose events without a job have this blueprint's names too."""
    return msgspec.structs.replace(settings, blueprint="delivery")


class Cast:
    """All people of the story, connected."""

    def __init__(self, town: Town) -> None:
        self.town = town

    async def gather(self) -> Cast:
        """Create one person of each role, and one more of each who has nothing to do with the order."""
        town = self.town
        self.meals = await town.service("Delivery")
        self.carla, self.other = await town.person("customer", "Carla"), await town.person("customer", "Other")
        self.ops, self.admin = await town.person("ops_manager", "Olga"), await town.person("admin", "Ada")
        self.payer = await town.person("service", "Payments")
        for person in (self.carla, self.other, self.ops, self.admin, self.payer):
            await person.socket.open()
        self.dan = await town.technician("Dan", self.meals)
        self.dora = await town.technician("Dora", self.meals, lat=40.755)
        return self

    async def order(self) -> str:
        """Place Carla's order."""
        made = await self.carla.post("/v1/jobs", {**SHOP, "service": self.meals})
        assert made.status_code == 201, made.text
        job: str = made.json()["job"]["id"]
        return job

    async def give(self, who: Person, job: str, command: str, **more: Any) -> dict[str, Any]:
        """Send a command that must succeed, and return the job."""
        reply = await who.post(f"/v1/jobs/{job}/{command}", more)
        assert reply.status_code == 200, reply.text
        changed: dict[str, Any] = reply.json()["job"]
        return changed

    async def cook(self, job: str) -> None:
        """Do the kitchen's steps, until the order is ready."""
        for command in ("confirm", "prepare", "ready"):
            await self.give(self.ops, job, command)

    async def settle(self) -> None:
        """Wait until everybody has received all events up to now: an announcement to all roles comes last."""
        roles = ["customer", "technician", "ops_manager", "admin", "service"]
        marked = await self.admin.post("/v1/announcements", {"event": "announcement.mark", "roles": roles, "data": {}})
        seq = marked.json()["announcement"]["seq"]
        everybody = (self.carla, self.other, self.ops, self.admin, self.payer, self.dan, self.dora)
        for person in everybody:
            await wait_until(lambda p=person: any(f.get("seq", 0) >= seq for f in p.socket.pushes))  # type: ignore[misc]


@pytest.fixture
async def cast(town: Town) -> Cast:
    """The people of the story."""
    return await Cast(town).gather()


async def test_what_the_customer_may_not(cast: Cast) -> None:
    """A customer cannot confirm an order or cancel it in the kitchen, and no driver starts before it is ready."""
    job = await cast.order()
    assert (await cast.carla.post(f"/v1/jobs/{job}/confirm")).status_code == 403
    assert (await cast.dan.post(f"/v1/jobs/{job}/claim")).json()["code"] == "illegal_transition"
    assert (await cast.dan.post(f"/v1/jobs/{job}/depart")).status_code == 404
    await cast.give(cast.ops, job, "confirm")
    await cast.give(cast.ops, job, "prepare")
    assert (await cast.carla.post(f"/v1/jobs/{job}/cancel")).json()["code"] == "illegal_transition"
    await cast.give(cast.ops, job, "cancel", reason="out of stock")


async def test_an_order_is_prepared_claimed_delivered_and_paid(cast: Cast) -> None:
    """From the order to the door, each step reaches exactly its audience, under the name that its clients know."""
    job = await cast.order()
    new = await cast.ops.socket.wait_for("order:new", job)
    assert new["data"]["job"]["customer"]["name"] == "Carla" and new["data"]["job"]["amount"] == 2550
    seen = await cast.dora.socket.wait_for("order:new", job)
    assert "customer" not in seen["data"]["job"] and "address" not in seen["data"]["job"]

    await cast.cook(job)
    offer = await cast.dan.socket.wait_for("offer.created", job)
    assert offer["data"]["offer"]["job"]["status"] == "ready"
    won = await cast.dan.socket.claim(job)
    assert won["ok"]["job"]["status"] == "ready" and won["ok"]["job"]["phase"] == "assigned"
    assert (await cast.dora.post(f"/v1/jobs/{job}/claim")).json()["code"] == "taken"
    await cast.give(cast.dan, job, "depart")

    # The customer's map and the board show the position within a second; nobody else receives it.
    await cast.dan.socket.request("location", lat=40.7501, lon=-73.9901)
    moved = await cast.carla.socket.wait_for("delivery:location:update")
    assert (moved["data"]["job"], moved["data"]["lat"], moved["data"]["stale"]) == (job, 40.7501, False)
    assert "seq" not in moved
    await cast.ops.socket.wait_for("delivery:location:update")

    await cast.give(cast.dan, job, "deliver")
    captured = {"reference": "pi_1", "status": "captured", "amount": 2550, "currency": "EUR"}
    assert (await cast.payer.post(f"/v1/jobs/{job}/payments", captured)).status_code == 201
    await cast.settle()
    for person in (cast.carla, cast.ops, cast.admin):
        [paid] = person.socket.received("payment:received", job)
        assert paid["data"]["payment"]["amount"] == 2550
    assert not any(p.socket.received("payment:received") for p in (cast.dan, cast.dora, cast.other))
    steps = [f["data"]["to"] for f in cast.carla.socket.received("order:status:update", job)]
    assert steps == ["confirmed", "preparing", "ready", "on_the_way", "delivered"]
    for board in (cast.ops, cast.admin):
        assert [f["data"]["to"] for f in board.socket.received("order:status:update", job)] == steps
    assert [f["data"]["to"] for f in cast.dan.socket.received("order:status:update", job)] == steps[3:]
    assert not cast.carla.socket.received("order:new") and not cast.carla.socket.received("delivery:status:update")
    reasons = [f["data"]["reason"] for f in cast.ops.socket.received("delivery:status:update", job)]
    assert reasons == ["assigned", "departed", "free"]
    assert not cast.dan.socket.received("delivery:status:update", job), (
        "a driver receives only their own changes between online and offline"
    )
    assert len(cast.carla.socket.received("notification:new")) >= 3
    for stranger in (cast.other, cast.dora, cast.payer):
        names = {f["event"] for f in stranger.socket.pushes if job in str(f)}
        assert names <= {"order:new", "offer.created", "offer.closed"}, names
    assert not [f for f in cast.other.socket.pushes if job in str(f)]
    assert not cast.dora.socket.received("delivery:location:update") and not cast.dan.socket.received(
        "delivery:location:update"
    )

    # After the order has ended nobody receives a position.
    before = len(cast.carla.socket.received("delivery:location:update"))
    await cast.dan.socket.request("location", lat=40.76, lon=-73.99)
    await cast.settle()
    assert len(cast.carla.socket.received("delivery:location:update")) == before


async def test_ops_assign_a_driver(cast: Cast) -> None:
    """From `confirmed` on, ops may assign a driver: the driver has the order, its state stays, and nobody receives an
    offer.
    """
    job = await cast.order()
    assert (await cast.ops.post(f"/v1/jobs/{job}/assign", {"technician": cast.dora.id})).json()["code"] == (
        "illegal_transition"
    )
    await cast.give(cast.ops, job, "confirm")
    given = await cast.give(cast.ops, job, "assign", technician=cast.dora.id)
    assert (given["status"], given["phase"], given["technician"]["id"]) == ("confirmed", "assigned", cast.dora.id)
    await cast.dora.socket.wait_for("job.assigned", job)
    for command in ("prepare", "ready"):
        await cast.give(cast.ops, job, command)
    await cast.settle()
    assert not cast.dan.socket.received("offer.created", job)
    assert (await cast.dan.post(f"/v1/jobs/{job}/claim")).json()["code"] == "taken"
    await cast.give(cast.dora, job, "depart")

    # After Dora is unassigned she is free and the order is offered to others. The next holder is free when it ends.
    await cast.give(cast.ops, job, "unassign", reason="flat tyre")
    await cast.dan.socket.wait_for("offer.created", job)
    assert "ok" in await cast.dan.socket.claim(job)
    await cast.give(cast.ops, job, "cancel", reason="cold by now")
    await cast.settle()
    board = [f["data"] for f in cast.ops.socket.received("delivery:status:update", job)]
    dan, dora = cast.dan.id, cast.dora.id
    assert [(update["technician"]["id"], update["reason"]) for update in board] == [
        *((dora, "assigned"), (dora, "departed"), (dora, "free")),
        *((dan, "assigned"), (dan, "free")),
    ]
    assert not any(p.socket.received("delivery:status:update", job) for p in (cast.dan, cast.dora, cast.carla))
    assert cast.dan.socket.received("order:cancelled", job) and not cast.dora.socket.received("order:cancelled", job)


async def test_cancellations_and_announcements_reach_their_audience(cast: Cast) -> None:
    """`order:cancelled` reaches the people of the order, business hours reach all roles but services, and a promotion
    reaches only customers.
    """
    job = await cast.order()
    await cast.give(cast.carla, job, "cancel")
    await cast.ops.socket.wait_for("order:cancelled", job)
    for person in (cast.dan, cast.dora):  # technicians who could have claimed it
        job_then = (await person.socket.wait_for("order:cancelled", job))["data"]["job"]
        assert job_then["status"] == "cancelled" and not {"customer", "address", "notes"} & set(job_then)
    assert (
        await cast.carla.post("/v1/announcements", {"event": "promotion", "roles": ["customer"], "data": {}})
    ).status_code == 403
    wrong = {"event": "promotion", "roles": ["technician"], "data": {"text": "-20 %"}}
    assert (await cast.admin.post("/v1/announcements", wrong)).status_code == 422
    closed = {
        "event": "business.status",
        "roles": ["customer", "technician", "ops_manager", "admin"],
        "data": {"open": False},
    }
    assert (await cast.admin.post("/v1/announcements", closed)).status_code in (200, 201)
    offer = {"event": "promotion", "roles": ["customer"], "data": {"text": "-20 %"}}
    assert (await cast.admin.post("/v1/announcements", offer)).status_code in (200, 201)
    await cast.settle()
    for person in (cast.carla, cast.other, cast.ops, cast.dan):
        assert [f["data"]["open"] for f in person.socket.received("business:status:update")] == [False]
    assert not cast.payer.socket.received("business:status:update")
    assert cast.carla.socket.received("offer:new") and cast.other.socket.received("offer:new")
    assert not any(p.socket.received("offer:new") for p in (cast.ops, cast.admin, cast.dan, cast.dora, cast.payer))
    assert not cast.other.socket.received("order:cancelled")


async def test_the_board_shows_drivers_who_go_on_and_offline(cast: Cast) -> None:
    """A driver who goes offline and online appears on the board and to themselves, and on no other screen."""
    for online in (False, True):
        where = {"online": online, "lat": 40.75, "lon": -73.99} if online else {"online": False}
        done = await cast.dan.call("PUT", f"/v1/technicians/{cast.dan.id}/availability", where)
        assert done.status_code == 200
    await cast.settle()
    mine = [
        f for f in cast.ops.socket.received("delivery:status:update") if f["data"]["technician"]["id"] == cast.dan.id
    ]
    assert [f["data"]["online"] for f in mine][-2:] == [False, True]
    await asyncio.gather(*(person.socket.request("ping") for person in (cast.carla, cast.dan)))
    others = [f for p in (cast.carla, cast.dora, cast.payer) for f in p.socket.received("delivery:status:update")]
    assert cast.dan.id not in {frame["data"]["technician"]["id"] for frame in others}
    assert [f["data"]["online"] for f in cast.dan.socket.received("delivery:status:update")][-2:] == [False, True]
