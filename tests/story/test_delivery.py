"""The blueprint `delivery`: an order, a driver on the customer's map, the screen of the staff, and the audience of each
event.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from tests.story.conftest import Person, Scenario
from tests.support.wait import wait_until

ORDER_BODY = {
    "lat": 40.75,
    "lon": -73.99,
    "address": "1 Main St",
    "amount": 2550,
    "currency": "EUR",
    "notes": "no onions",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `delivery`, so that events without a job have this blueprint's names
    too.
    """
    return msgspec.structs.replace(settings, blueprint="delivery")


class People:
    """The users of the story, connected."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    async def create(self) -> People:
        """Create and connect the users: those of the order, and a customer and a driver who have no part in it."""
        scenario = self.scenario
        self.service = await scenario.create_service("Delivery")
        self.carla, self.other = (
            await scenario.create_person("customer", "Carla"),
            await scenario.create_person("customer", "Other"),
        )
        self.ops, self.admin = (
            await scenario.create_person("ops_manager", "Olga"),
            await scenario.create_person("admin", "Ada"),
        )
        self.payer = await scenario.create_person("service", "Payments")
        for person in (self.carla, self.other, self.ops, self.admin, self.payer):
            await person.socket.open()
        self.dan = await scenario.create_technician("Dan", self.service)
        self.dora = await scenario.create_technician("Dora", self.service, lat=40.755)
        return self

    async def place_order(self) -> str:
        """Place an order as Carla, and return its id."""
        created = await self.carla.post("/v1/jobs", {**ORDER_BODY, "service": self.service})
        assert created.status_code == 201, created.text
        job: str = created.json()["job"]["id"]
        return job

    async def send_command(self, person: Person, job: str, command: str, **fields: Any) -> dict[str, Any]:
        """Send a command that must succeed, and return the job."""
        reply = await person.post(f"/v1/jobs/{job}/{command}", fields)
        assert reply.status_code == 200, reply.text
        changed: dict[str, Any] = reply.json()["job"]
        return changed

    async def prepare_order(self, job: str) -> None:
        """Send the commands of the kitchen, until the order is ready."""
        for command in ("confirm", "prepare", "ready"):
            await self.send_command(self.ops, job, command)

    async def wait_for_all_events(self) -> None:
        """Send an announcement to all roles, and wait until each user has received it and with it all events
        before it.
        """
        roles = ["customer", "technician", "ops_manager", "admin", "service"]
        marked = await self.admin.post("/v1/announcements", {"event": "announcement.mark", "roles": roles, "data": {}})
        seq = marked.json()["announcement"]["seq"]
        persons = (self.carla, self.other, self.ops, self.admin, self.payer, self.dan, self.dora)
        for person in persons:
            await wait_until(lambda p=person: any(f.get("seq", 0) >= seq for f in p.socket.pushes))  # type: ignore[misc]


@pytest.fixture
async def people(scenario: Scenario) -> People:
    """Return the users of the story: customers, drivers, ops, an admin and the payment service."""
    return await People(scenario).create()


async def test_customers_and_drivers_cannot_do_the_kitchens_steps(people: People) -> None:
    """A customer can neither confirm an order nor cancel it once the kitchen prepares it, and no driver can claim it
    before it is ready.
    """
    job = await people.place_order()
    assert (await people.carla.post(f"/v1/jobs/{job}/confirm")).status_code == 403
    assert (await people.dan.post(f"/v1/jobs/{job}/claim")).json()["code"] == "illegal_transition"
    assert (await people.dan.post(f"/v1/jobs/{job}/depart")).status_code == 404
    await people.send_command(people.ops, job, "confirm")
    await people.send_command(people.ops, job, "prepare")
    assert (await people.carla.post(f"/v1/jobs/{job}/cancel")).json()["code"] == "illegal_transition"
    await people.send_command(people.ops, job, "cancel", reason="out of stock")


async def test_an_order_is_prepared_claimed_delivered_and_paid(people: People) -> None:
    """From the booking to the payment, each event of an order reaches exactly its audience, with the name that the
    blueprint defines.
    """
    job = await people.place_order()
    new = await people.ops.socket.wait_for("order:new", job)
    assert new["data"]["job"]["customer"]["name"] == "Carla" and new["data"]["job"]["amount"] == 2550
    push = await people.dora.socket.wait_for("order:new", job)
    assert "customer" not in push["data"]["job"] and "address" not in push["data"]["job"]

    await people.prepare_order(job)
    offer = await people.dan.socket.wait_for("offer.created", job)
    assert offer["data"]["offer"]["job"]["status"] == "ready"
    claim = await people.dan.socket.claim(job)
    assert claim["ok"]["job"]["status"] == "ready" and claim["ok"]["job"]["phase"] == "assigned"
    assert (await people.dora.post(f"/v1/jobs/{job}/claim")).json()["code"] == "taken"
    await people.send_command(people.dan, job, "depart")

    # The customer and the staff receive the driver's position within a second; nobody else receives it.
    await people.dan.socket.request("location", lat=40.7501, lon=-73.9901)
    moved = await people.carla.socket.wait_for("delivery:location:update")
    assert (moved["data"]["job"], moved["data"]["lat"], moved["data"]["stale"]) == (job, 40.7501, False)
    assert "seq" not in moved
    await people.ops.socket.wait_for("delivery:location:update")

    await people.send_command(people.dan, job, "deliver")
    captured = {"reference": "pi_1", "status": "captured", "amount": 2550, "currency": "EUR"}
    assert (await people.payer.post(f"/v1/jobs/{job}/payments", captured)).status_code == 201
    await people.wait_for_all_events()
    for person in (people.carla, people.ops, people.admin):
        [payment_push] = person.socket.received("payment:received", job)
        assert payment_push["data"]["payment"]["amount"] == 2550
    assert not any(p.socket.received("payment:received") for p in (people.dan, people.dora, people.other))
    steps = [f["data"]["to"] for f in people.carla.socket.received("order:status:update", job)]
    assert steps == ["confirmed", "preparing", "ready", "on_the_way", "delivered"]
    for board in (people.ops, people.admin):
        assert [f["data"]["to"] for f in board.socket.received("order:status:update", job)] == steps
    assert [f["data"]["to"] for f in people.dan.socket.received("order:status:update", job)] == steps[3:]
    assert not people.carla.socket.received("order:new") and not people.carla.socket.received("delivery:status:update")
    reasons = [f["data"]["reason"] for f in people.ops.socket.received("delivery:status:update", job)]
    assert reasons == ["assigned", "departed", "free"]
    assert not people.dan.socket.received("delivery:status:update", job), (
        "a driver receives only their own changes between online and offline"
    )
    assert len(people.carla.socket.received("notification:new")) >= 3
    for stranger in (people.other, people.dora, people.payer):
        names = {f["event"] for f in stranger.socket.pushes if job in str(f)}
        assert names <= {"order:new", "offer.created", "offer.closed"}, names
    assert not [f for f in people.other.socket.pushes if job in str(f)]
    assert not people.dora.socket.received("delivery:location:update") and not people.dan.socket.received(
        "delivery:location:update"
    )

    # After the order has ended nobody receives a position.
    before = len(people.carla.socket.received("delivery:location:update"))
    await people.dan.socket.request("location", lat=40.76, lon=-73.99)
    await people.wait_for_all_events()
    assert len(people.carla.socket.received("delivery:location:update")) == before


async def test_ops_assign_a_driver(people: People) -> None:
    """From the state `confirmed` on, ops can assign a driver: the driver holds the order, its state does not change,
    and no driver receives an offer.
    """
    job = await people.place_order()
    assert (await people.ops.post(f"/v1/jobs/{job}/assign", {"technician": people.dora.id})).json()["code"] == (
        "illegal_transition"
    )
    await people.send_command(people.ops, job, "confirm")
    order = await people.send_command(people.ops, job, "assign", technician=people.dora.id)
    assert (order["status"], order["phase"], order["technician"]["id"]) == ("confirmed", "assigned", people.dora.id)
    await people.dora.socket.wait_for("job.assigned", job)
    for command in ("prepare", "ready"):
        await people.send_command(people.ops, job, command)
    await people.wait_for_all_events()
    assert not people.dan.socket.received("offer.created", job)
    assert (await people.dan.post(f"/v1/jobs/{job}/claim")).json()["code"] == "taken"
    await people.send_command(people.dora, job, "depart")

    # After ops unassign Dora, she is free and others receive offers. The next holder is free when the order ends.
    await people.send_command(people.ops, job, "unassign", reason="flat tyre")
    await people.dan.socket.wait_for("offer.created", job)
    assert "ok" in await people.dan.socket.claim(job)
    await people.send_command(people.ops, job, "cancel", reason="cold by now")
    await people.wait_for_all_events()
    board = [f["data"] for f in people.ops.socket.received("delivery:status:update", job)]
    dan, dora = people.dan.id, people.dora.id
    assert [(update["technician"]["id"], update["reason"]) for update in board] == [
        *((dora, "assigned"), (dora, "departed"), (dora, "free")),
        *((dan, "assigned"), (dan, "free")),
    ]
    assert not any(p.socket.received("delivery:status:update", job) for p in (people.dan, people.dora, people.carla))
    assert people.dan.socket.received("order:cancelled", job) and not people.dora.socket.received(
        "order:cancelled", job
    )


async def test_cancellations_and_announcements_reach_their_audience(people: People) -> None:
    """`order:cancelled` reaches the users of the order, `business:status:update` customers, technicians and staff, and
    `offer:new` only customers.
    """
    job = await people.place_order()
    await people.send_command(people.carla, job, "cancel")
    await people.ops.socket.wait_for("order:cancelled", job)
    for person in (people.dan, people.dora):  # technicians who could have claimed it
        job_then = (await person.socket.wait_for("order:cancelled", job))["data"]["job"]
        assert job_then["status"] == "cancelled" and not {"customer", "address", "notes"} & set(job_then)
    assert (
        await people.carla.post("/v1/announcements", {"event": "promotion", "roles": ["customer"], "data": {}})
    ).status_code == 403
    wrong = {"event": "promotion", "roles": ["technician"], "data": {"text": "-20 %"}}
    assert (await people.admin.post("/v1/announcements", wrong)).status_code == 422
    announcement = {
        "event": "business.status",
        "roles": ["customer", "technician", "ops_manager", "admin"],
        "data": {"open": False},
    }
    assert (await people.admin.post("/v1/announcements", announcement)).status_code in (200, 201)
    offer = {"event": "promotion", "roles": ["customer"], "data": {"text": "-20 %"}}
    assert (await people.admin.post("/v1/announcements", offer)).status_code in (200, 201)
    await people.wait_for_all_events()
    for person in (people.carla, people.other, people.ops, people.dan):
        assert [f["data"]["open"] for f in person.socket.received("business:status:update")] == [False]
    assert not people.payer.socket.received("business:status:update")
    assert people.carla.socket.received("offer:new") and people.other.socket.received("offer:new")
    assert not any(
        p.socket.received("offer:new") for p in (people.ops, people.admin, people.dan, people.dora, people.payer)
    )
    assert not people.other.socket.received("order:cancelled")


async def test_the_board_shows_when_a_driver_changes_between_online_and_offline(people: People) -> None:
    """When a driver changes to offline and back to online, `delivery:status:update` reaches the staff and the driver,
    and nobody else.
    """
    for online in (False, True):
        where = {"online": online, "lat": 40.75, "lon": -73.99} if online else {"online": False}
        answer = await people.dan.request("PUT", f"/v1/technicians/{people.dan.id}/availability", where)
        assert answer.status_code == 200
    await people.wait_for_all_events()
    pushes = [
        f
        for f in people.ops.socket.received("delivery:status:update")
        if f["data"]["technician"]["id"] == people.dan.id
    ]
    assert [f["data"]["online"] for f in pushes][-2:] == [False, True]
    await asyncio.gather(*(person.socket.request("ping") for person in (people.carla, people.dan)))
    others = [f for p in (people.carla, people.dora, people.payer) for f in p.socket.received("delivery:status:update")]
    assert people.dan.id not in {frame["data"]["technician"]["id"] for frame in others}
    assert [f["data"]["online"] for f in people.dan.socket.received("delivery:status:update")][-2:] == [False, True]
