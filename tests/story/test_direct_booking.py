"""`direct_booking`: a known technician is booked, and a mediator settles what the two cannot. Read it as
the manual.
"""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from engine.process.settings import Settings
from tests.story.conftest import Person, Town
from tests.support.clock import advance
from tests.support.wait import wait_until

PLACE = {"lat": 40.7512, "lon": -73.9921, "address": "1 Main St"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A zone in which technicians are known."""
    return msgspec.structs.replace(settings, blueprint="direct_booking")


async def give(who: Person, path: str, **body: Any) -> dict[str, Any]:
    """What must work."""
    done = await who.post(path, body)
    assert done.status_code in (200, 201), done.text
    found: dict[str, Any] = done.json()
    return found


async def ask(who: Person, service: str, technician: Person) -> str:
    """A booking of a technician, who has heard of it."""
    booked = await give(who, "/v1/jobs", service=service, technician=technician.id, **PLACE)
    job: str = booked["job"]["id"]
    await technician.socket.wait_for("offer.created", job)
    return job


def code_of(refused: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return refused.status_code, refused.json()["code"]


async def test_who_may_be_booked(town: Town) -> None:
    """Somebody must be named who may do it, and whom the customer does not avoid; what is refused leaves no job."""
    plumbing, gardening = await town.service(), await town.service("Gardening")
    carla = await town.person("customer", "Carla")
    gus, pen = await town.technician("Gus", gardening), await town.technician("Pen", plumbing, approved=False)
    avoided = await town.technician("Bo", plumbing)
    assert (await carla.call("PUT", f"/v1/me/blocks/{avoided.id}", {})).status_code == 200
    for name in (None, "usr_none", gus.id, pen.id, avoided.id, carla.id):
        refused = await carla.post("/v1/jobs", {"service": plumbing, **PLACE, "technician": name})
        assert code_of(refused) == (422, "invalid")
        assert [wrong["pointer"] for wrong in refused.json()["errors"]] == ["/technician"]
    assert (await carla.get("/v1/jobs"))["items"] == []


async def test_the_whole_story(town: Town) -> None:
    """Asked, accepted, done: he alone is asked, both hear of each step, and nobody else of anything."""
    plumbing = await town.service()
    carla, otto = await town.person("customer", "Carla"), await town.person("customer", "Otto")
    ops = await town.person("ops_manager", "Olga")
    tom, tara = await town.technician("Tom", plumbing), await town.technician("Tara", plumbing)
    for person in (carla, otto, ops):
        await person.socket.open()

    # A customer books a given technician, who is asked at once, and sees the public part of the job.
    job = await ask(carla, plumbing, tom)
    shown = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert (shown["status"], shown["phase"], shown["actions"]) == ("requested", "open", ["cancel"])
    offer = tom.socket.received("offer.created", job)[0]["data"]["offer"]
    assert offer["expires_at"] == shown["expires_at"]
    assert not {"customer", "address", "reference", "metadata"} & set(offer["job"])
    assert [o["job"]["id"] for o in (await tom.get("/v1/offers"))["items"]] == [job]
    assert (await tom.get(f"/v1/jobs/{job}"))["job"]["actions"] == ["accept", "decline"]

    # Nobody else can answer for him, nor read it.
    assert code_of(await tara.post(f"/v1/jobs/{job}/accept")) == (409, "not_offered")
    assert (await carla.post(f"/v1/jobs/{job}/accept")).status_code == 403
    for stranger in (tara, otto):
        assert (await stranger.call("GET", f"/v1/jobs/{job}")).status_code == 404

    # He accepts, over his socket; now all of it is his to see.
    reply = await tom.socket.request("command", job=job, command="accept")
    assert reply["ok"]["message"] == "Booking accepted" and reply["ok"]["job"]["customer"]["name"] == "Carla"
    accepted = (await carla.socket.wait_for("job.accepted", job))["data"]
    assert accepted["technician"]["id"] == tom.id and "phone" not in accepted["technician"]
    assert reply["ok"]["job"]["customer"]["phone"] == "+1 555 0100"
    await wait_until(lambda: carla.socket.received("notification"))
    assert code_of(await tom.post(f"/v1/jobs/{job}/decline")) == (409, "illegal_transition")

    # He starts and completes it.
    for command, status in (("start", "in_progress"), ("complete", "completed")):
        assert (await give(tom, f"/v1/jobs/{job}/{command}"))["job"]["status"] == status
    for person in (carla, tom, ops):
        await wait_until(lambda p=person: len(p.socket.received("job.status", job)) == 2)  # type: ignore[misc]
        assert [p["data"]["to"] for p in person.socket.received("job.status", job)] == ["in_progress", "completed"]
    assert code_of(await carla.post(f"/v1/jobs/{job}/cancel"))[0] == 409
    for stranger in (tara, otto):
        assert not [p for p in stranger.socket.pushes if job in str(p)]


async def test_he_says_no(town: Town) -> None:
    """The booking ends as `declined`: the customer and ops are told, with his reason; nobody else is asked."""
    plumbing = await town.service()
    carla, tom = await town.person("customer", "Carla"), await town.technician("Tom", plumbing)
    tara = await town.technician("Tara", plumbing)
    await carla.socket.open()
    job = await ask(carla, plumbing, tom)
    declined = await give(tom, f"/v1/jobs/{job}/decline", reason="on holiday")
    assert declined["job"]["status"] == "declined" and declined["job"].get("customer") is None
    told = (await carla.socket.wait_for("job.status", job))["data"]
    assert (told["from"], told["to"], told["reason"]) == ("requested", "declined", "on holiday")
    assert (told["job"]["phase"], told["job"]["technician"]) == ("closed", None)
    assert code_of(await tom.post(f"/v1/jobs/{job}/accept"))[0] == 409
    assert (await tom.get("/v1/offers"))["items"] == [] and not tara.socket.received("offer.created")


async def test_the_customer_takes_it_back_or_waits_in_vain(town: Town) -> None:
    """Cancelled before he answered, his offer is closed; afterwards the job is, and he has room; and it runs out."""
    plumbing = await town.service()
    carla, tom = await town.person("customer", "Carla"), await town.technician("Tom", plumbing)
    await carla.socket.open()
    first, second, third = [await ask(carla, plumbing, tom) for _ in range(3)]
    await give(carla, f"/v1/jobs/{first}/cancel")
    assert (await tom.socket.wait_for("offer.closed", first))["data"]["reason"] == "cancelled"
    assert code_of(await tom.post(f"/v1/jobs/{first}/accept")) == (409, "cancelled")
    await give(tom, f"/v1/jobs/{second}/accept")
    assert code_of(await tom.post(f"/v1/jobs/{third}/accept")) == (409, "at_capacity")
    await give(carla, f"/v1/jobs/{second}/cancel", reason="found another")
    assert (await tom.socket.wait_for("job.cancelled", second))["data"]["reason"] == "found another"
    await advance(town.server.engine, 86_401)
    assert (await carla.socket.wait_for("job.expired", third, 30))["data"]["job"]["status"] == "expired"
    assert (await tom.socket.wait_for("offer.closed", third))["data"]["reason"] == "expired"
    assert code_of(await tom.post(f"/v1/jobs/{third}/accept")) == (409, "expired")


@pytest.mark.parametrize(
    ("outcome", "status"), [("resume", "in_progress"), ("cancel", "cancelled"), ("complete", "completed")]
)
async def test_a_mediator_settles_what_the_two_cannot(town: Town, outcome: str, status: str) -> None:
    """A dispute freezes the job to every other command, until a mediator, who reads it now, resolves it."""
    plumbing = await town.service()
    carla, tom = await town.person("customer", "Carla"), await town.technician("Tom", plumbing)
    mia, otto = await town.person("mediator", "Mia"), await town.person("customer", "Otto")
    for person in (carla, mia, otto):
        await person.socket.open()
    job = await ask(carla, plumbing, tom)
    assert code_of(await carla.post(f"/v1/jobs/{job}/disputes", {"reason": "x"}))[0] == 409
    for command in ("accept", "start"):
        await give(tom, f"/v1/jobs/{job}/{command}")
    assert (await mia.call("GET", f"/v1/jobs/{job}")).status_code == 404
    opened = await give(carla, f"/v1/jobs/{job}/disputes", reason="not what we said")
    for person in (carla, tom):
        assert (await person.socket.wait_for("job.disputed", job))["data"]["job"]["frozen"] is True
    named = (await mia.socket.wait_for("job.disputed", job))["data"]
    assert named["dispute"]["reason"] == "not what we said" and "customer" not in named["job"]
    shown = (await mia.get(f"/v1/jobs/{job}"))["job"]
    assert shown["frozen"] and shown["customer"]["name"] == "Carla"
    for who, command in ((tom, "complete"), (town.admin, "cancel")):
        assert code_of(await who.post(f"/v1/jobs/{job}/{command}")) == (409, "frozen")
        assert "complete" not in (await who.get(f"/v1/jobs/{job}"))["job"]["actions"]
    assert (await otto.call("GET", f"/v1/jobs/{job}")).status_code == 404
    settled = await mia.post(f"/v1/disputes/{opened['dispute']['id']}/resolve", {"outcome": outcome, "note": "agreed"})
    assert settled.status_code == 200 and settled.json()["job"]["status"] == status
    event = "job.cancelled" if outcome == "cancel" else "job.resolved"
    for person in (carla, tom):
        job_then = (await person.socket.wait_for(event, job))["data"]["job"]
        assert job_then["status"] == status and "frozen" not in job_then
    if outcome == "resume":
        await give(tom, f"/v1/jobs/{job}/complete")
    assert not [p for p in otto.socket.pushes if job in str(p)]
