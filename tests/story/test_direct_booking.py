"""The blueprint `direct_booking`: a customer books a technician by name, and a mediator resolves disputes. The tests
also serve as its manual.
"""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from engine.process.settings import Settings
from tests.story.conftest import Person, Scenario
from tests.support.clock import advance
from tests.support.wait import wait_until

PLACE = {"lat": 40.7512, "lon": -73.9921, "address": "1 Main St"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `direct_booking`."""
    return msgspec.structs.replace(settings, blueprint="direct_booking")


async def post_ok(person: Person, path: str, **body: Any) -> dict[str, Any]:
    """Send a POST that must succeed, and return its reply."""
    reply = await person.post(path, body)
    assert reply.status_code in (200, 201), reply.text
    decoded: dict[str, Any] = reply.json()
    return decoded


async def book_technician(person: Person, service: str, technician: Person) -> str:
    """Book a technician, wait until the offer has reached them, and return the job's id."""
    reply = await post_ok(person, "/v1/jobs", service=service, technician=technician.id, **PLACE)
    job: str = reply["job"]["id"]
    await technician.socket.wait_for("offer.created", job)
    return job


def status_and_code(refused: httpx.Response) -> tuple[int, str]:
    """Return the HTTP status and the code of a refusal."""
    return refused.status_code, refused.json()["code"]


async def test_only_an_eligible_technician_can_be_booked(scenario: Scenario) -> None:
    """A booking without a technician, or with one who is not eligible or whom the customer has blocked, is refused with
    `invalid` at `/technician`, and no job is created.
    """
    plumbing, gardening = await scenario.create_service(), await scenario.create_service("Gardening")
    carla = await scenario.create_person("customer", "Carla")
    gus, pen = (
        await scenario.create_technician("Gus", gardening),
        await scenario.create_technician("Pen", plumbing, approved=False),
    )
    avoided = await scenario.create_technician("Bo", plumbing)
    assert (await carla.request("PUT", f"/v1/me/blocks/{avoided.id}", {})).status_code == 200
    for name in (None, "usr_none", gus.id, pen.id, avoided.id, carla.id):
        refused = await carla.post("/v1/jobs", {"service": plumbing, **PLACE, "technician": name})
        assert status_and_code(refused) == (422, "invalid")
        assert [wrong["pointer"] for wrong in refused.json()["errors"]] == ["/technician"]
    assert (await carla.get("/v1/jobs"))["items"] == []


async def test_a_booking_is_accepted_and_completed(scenario: Scenario) -> None:
    """Only the booked technician receives the offer; they accept and complete the job, both parties receive each step,
    and nobody else receives an event.
    """
    plumbing = await scenario.create_service()
    carla, otto = await scenario.create_person("customer", "Carla"), await scenario.create_person("customer", "Otto")
    ops = await scenario.create_person("ops_manager", "Olga")
    tom, tara = await scenario.create_technician("Tom", plumbing), await scenario.create_technician("Tara", plumbing)
    for person in (carla, otto, ops):
        await person.socket.open()

    # A customer books a technician, who receives an offer at once and sees the public part of the job.
    job = await book_technician(carla, plumbing, tom)
    job_view = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert (job_view["status"], job_view["phase"], job_view["actions"]) == ("requested", "open", ["cancel"])
    offer = tom.socket.received("offer.created", job)[0]["data"]["offer"]
    assert offer["expires_at"] == job_view["expires_at"]
    assert not {"customer", "address", "reference", "metadata"} & set(offer["job"])
    assert [o["job"]["id"] for o in (await tom.get("/v1/offers"))["items"]] == [job]
    assert (await tom.get(f"/v1/jobs/{job}"))["job"]["actions"] == ["accept", "decline"]

    # Nobody else can answer for the technician, or read the job.
    assert status_and_code(await tara.post(f"/v1/jobs/{job}/accept")) == (409, "not_offered")
    assert (await carla.post(f"/v1/jobs/{job}/accept")).status_code == 403
    for stranger in (tara, otto):
        assert (await stranger.request("GET", f"/v1/jobs/{job}")).status_code == 404

    # The technician accepts over their socket, and now sees the whole job.
    reply = await tom.socket.request("command", job=job, command="accept")
    assert reply["ok"]["message"] == "Booking accepted" and reply["ok"]["job"]["customer"]["name"] == "Carla"
    accepted = (await carla.socket.wait_for("job.accepted", job))["data"]
    assert accepted["technician"]["id"] == tom.id and "phone" not in accepted["technician"]
    assert reply["ok"]["job"]["customer"]["phone"] == "+1 555 0100"
    await wait_until(lambda: carla.socket.received("notification"))
    assert status_and_code(await tom.post(f"/v1/jobs/{job}/decline")) == (409, "illegal_transition")

    # The technician starts and completes it.
    for command, status in (("start", "in_progress"), ("complete", "completed")):
        assert (await post_ok(tom, f"/v1/jobs/{job}/{command}"))["job"]["status"] == status
    for person in (carla, tom, ops):
        await wait_until(lambda p=person: len(p.socket.received("job.status", job)) == 2)  # type: ignore[misc]
        assert [p["data"]["to"] for p in person.socket.received("job.status", job)] == ["in_progress", "completed"]
    assert status_and_code(await carla.post(f"/v1/jobs/{job}/cancel"))[0] == 409
    for stranger in (tara, otto):
        assert not [p for p in stranger.socket.pushes if job in str(p)]


async def test_a_declined_booking_ends(scenario: Scenario) -> None:
    """A declined booking ends as `declined`: the customer receives the reason, and no other technician receives an
    offer.
    """
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    tara = await scenario.create_technician("Tara", plumbing)
    await carla.socket.open()
    job = await book_technician(carla, plumbing, tom)
    declined = await post_ok(tom, f"/v1/jobs/{job}/decline", reason="on holiday")
    assert declined["job"]["status"] == "declined" and declined["job"].get("customer") is None
    step = (await carla.socket.wait_for("job.status", job))["data"]
    assert (step["from"], step["to"], step["reason"]) == ("requested", "declined", "on holiday")
    assert (step["job"]["phase"], step["job"]["technician"]) == ("closed", None)
    assert status_and_code(await tom.post(f"/v1/jobs/{job}/accept"))[0] == 409
    assert (await tom.get("/v1/offers"))["items"] == [] and not tara.socket.received("offer.created")


async def test_a_booking_is_cancelled_or_expires(scenario: Scenario) -> None:
    """A cancel closes the open offer, or the accepted job, whose technician then has capacity again; a booking without
    an answer expires after a day.
    """
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    await carla.socket.open()
    first, second, third = [await book_technician(carla, plumbing, tom) for _ in range(3)]
    await post_ok(carla, f"/v1/jobs/{first}/cancel")
    assert (await tom.socket.wait_for("offer.closed", first))["data"]["reason"] == "cancelled"
    assert status_and_code(await tom.post(f"/v1/jobs/{first}/accept")) == (409, "cancelled")
    await post_ok(tom, f"/v1/jobs/{second}/accept")
    assert status_and_code(await tom.post(f"/v1/jobs/{third}/accept")) == (409, "at_capacity")
    await post_ok(carla, f"/v1/jobs/{second}/cancel", reason="found another")
    assert (await tom.socket.wait_for("job.cancelled", second))["data"]["reason"] == "found another"
    await advance(scenario.server.engine, 86_401)
    assert (await carla.socket.wait_for("job.expired", third, 30))["data"]["job"]["status"] == "expired"
    assert (await tom.socket.wait_for("offer.closed", third))["data"]["reason"] == "expired"
    assert status_and_code(await tom.post(f"/v1/jobs/{third}/accept")) == (409, "expired")


@pytest.mark.parametrize(
    ("outcome", "status"), [("resume", "in_progress"), ("cancel", "cancelled"), ("complete", "completed")]
)
async def test_a_mediator_resolves_a_dispute(scenario: Scenario, outcome: str, status: str) -> None:
    """A dispute freezes the job for all other commands until a mediator, who can then read the job, resolves the
    dispute.
    """
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    mia, otto = await scenario.create_person("mediator", "Mia"), await scenario.create_person("customer", "Otto")
    for person in (carla, mia, otto):
        await person.socket.open()
    job = await book_technician(carla, plumbing, tom)
    assert status_and_code(await carla.post(f"/v1/jobs/{job}/disputes", {"reason": "x"}))[0] == 409
    for command in ("accept", "start"):
        await post_ok(tom, f"/v1/jobs/{job}/{command}")
    assert (await mia.request("GET", f"/v1/jobs/{job}")).status_code == 404
    reply = await post_ok(carla, f"/v1/jobs/{job}/disputes", reason="not what we said")
    for person in (carla, tom):
        assert (await person.socket.wait_for("job.disputed", job))["data"]["job"]["frozen"] is True
    payload = (await mia.socket.wait_for("job.disputed", job))["data"]
    assert payload["dispute"]["reason"] == "not what we said" and "customer" not in payload["job"]
    job_view = (await mia.get(f"/v1/jobs/{job}"))["job"]
    assert job_view["frozen"] and job_view["customer"]["name"] == "Carla"
    for person, command in ((tom, "complete"), (scenario.admin, "cancel")):
        assert status_and_code(await person.post(f"/v1/jobs/{job}/{command}")) == (409, "frozen")
        assert "complete" not in (await person.get(f"/v1/jobs/{job}"))["job"]["actions"]
    assert (await otto.request("GET", f"/v1/jobs/{job}")).status_code == 404
    settled = await mia.post(f"/v1/disputes/{reply['dispute']['id']}/resolve", {"outcome": outcome, "note": "agreed"})
    assert settled.status_code == 200 and settled.json()["job"]["status"] == status
    event = "job.cancelled" if outcome == "cancel" else "job.resolved"
    for person in (carla, tom):
        job_then = (await person.socket.wait_for(event, job))["data"]["job"]
        assert job_then["status"] == status and "frozen" not in job_then
    if outcome == "resume":
        await post_ok(tom, f"/v1/jobs/{job}/complete")
    assert not [p for p in otto.socket.pushes if job in str(p)]
