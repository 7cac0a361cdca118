"""The blueprint `home_service`: a job is offered to many technicians, and the first claim wins. The tests also serve as
its manual.
"""

from __future__ import annotations

import asyncio
import uuid

from tests.story.conftest import Scenario
from tests.support.wait import wait_until


async def test_a_booking_is_validated_first(scenario: Scenario) -> None:
    """A booking with a wrong role, service, address or amount is refused, and no job is created."""
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    booking = {"service": plumbing, "lat": 40.75, "lon": -73.99, "address": "1 Main St"}
    assert (await tom.post("/v1/jobs", booking)).status_code == 403
    for wrong, pointer in (
        ({"address": ""}, "/address"),
        ({"amount": -1}, "/amount"),
        ({"amount": "10"}, "/amount"),
        ({"lat": 91}, "/lat"),
        ({"colour": "red"}, "/colour"),
    ):
        refused = await carla.post("/v1/jobs", {**booking, **wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
        assert [e["pointer"] for e in refused.json()["errors"]] == [pointer]
    assert (await carla.post("/v1/jobs", {**booking, "service": "srv_none"})).json()["code"] in ("not_found", "invalid")
    await scenario.admin.request("PATCH", f"/v1/services/{plumbing}", {"active": False})
    assert (await carla.post("/v1/jobs", booking)).json()["code"] == "service_inactive"
    assert (await carla.get("/v1/jobs"))["items"] == []


async def test_a_job_is_offered_claimed_and_completed(scenario: Scenario) -> None:
    """A job is offered to all eligible technicians, claimed by exactly one of two, and worked on step by step; other
    users receive no event of the job.
    """
    plumbing, gardening = await scenario.create_service(), await scenario.create_service("Gardening")
    carla, other = await scenario.create_person("customer", "Carla"), await scenario.create_person("customer", "Otto")
    ops = await scenario.create_person("ops_manager", "Olga")
    tom, tara = await scenario.create_technician("Tom", plumbing), await scenario.create_technician("Tara", plumbing)
    gus = await scenario.create_technician("Gus", gardening)
    pending = await scenario.create_technician("Pen", plumbing, approved=False)
    for person in (carla, other, ops):
        await person.socket.open()

    # A customer books.
    booking = {"service": plumbing, "lat": 40.7512, "lon": -73.9921, "address": "1 Main St", "notes": "Sink"}
    answer = await carla.post("/v1/jobs", booking, **{"Idempotency-Key": str(uuid.uuid4())})
    assert answer.status_code == 201 and answer.headers["location"].startswith("/v1/jobs/job_main_")
    job = answer.json()["job"]
    assert (job["status"], job["phase"], job["amount"], job["actions"]) == ("broadcasted", "open", 5000, ["cancel"])

    # Everybody who is approved, complete, online and has the service receives an offer, and nobody else.
    for technician in (tom, tara):
        offer = (await technician.socket.wait_for("new_job_broadcast", job["id"]))["data"]["offer"]
        assert offer["status"] == "sent" and offer["job"]["lat"] == 40.751
        assert not {"customer", "address", "reference", "metadata"} & set(offer["job"])
    assert (await tom.get("/v1/offers"))["items"][0]["job"]["id"] == job["id"]
    assert (await carla.socket.wait_for("job.searching", job["id"]))["data"]["asked"] == 2

    # A refused claim contains the reason.
    claim = f"/v1/jobs/{job['id']}/claim"
    assert (await pending.post(claim)).json()["title"] == "KYC must be approved"
    assert (await gus.post(claim)).json()["code"] == "not_offered"
    assert (await other.post(claim)).status_code == 403
    assert (await other.request("GET", f"/v1/jobs/{job['id']}")).status_code == 404

    # Two technicians accept at the same time: one by HTTP, one over a socket.
    answers = await asyncio.gather(
        tom.post(f"/v1/jobs/{job['id']}/respond", {"status": "accepted"}), tara.socket.claim(job["id"])
    )
    tom_won = answers[0].status_code == 200
    assert tom_won != ("ok" in answers[1])
    winner, loser = (tom, tara) if tom_won else (tara, tom)
    if tom_won:
        assert answers[0].json()["message"] == "Job accepted"
        assert answers[1]["error"]["title"] == "Booking already taken"
    else:
        assert answers[1]["ok"]["message"] == "Job accepted"
        assert (answers[0].status_code, answers[0].json()["title"]) == (409, "Booking already taken")

    # The customer receives the technician's name, the losing technician receives `job_taken`, and nobody else an event.
    accepted = (await carla.socket.wait_for("job_accepted", job["id"]))["data"]
    assert accepted["technician"]["id"] == winner.id and "phone" not in accepted["technician"]
    reply = await carla.get(f"/v1/jobs/{job['id']}")
    assert reply["job"]["technician"]["phone"] == "+1 555 0100"
    dropped = (await loser.socket.wait_for("job_taken", job["id"]))["data"]
    assert dropped["bookingId"] == job["id"] and dropped["message"] == "Booking already taken"
    assert (await loser.get("/v1/offers"))["items"] == []
    view = await winner.get(f"/v1/jobs/{job['id']}")
    assert view["job"]["customer"]["phone"] == "+1 555 0100" and view["job"]["actions"] == ["depart", "unassign"]

    # Both parties receive each step of the work.
    for command, status in (
        ("depart", "on_the_way"),
        ("arrive", "reached"),
        ("start", "in_progress"),
        ("complete", "completed"),
    ):
        step = await winner.post(f"/v1/jobs/{job['id']}/{command}")
        assert step.status_code == 200 and step.json()["job"]["status"] == status
    for person in (carla, winner, ops):
        await wait_until(lambda p=person: len(p.socket.received("job.status", job["id"])) == 4)  # type: ignore[misc]
        steps = [p["data"]["to"] for p in person.socket.received("job.status", job["id"])]
        assert steps == ["on_the_way", "reached", "in_progress", "completed"]

    # The customer has notifications, and the history is in the order of the log.
    await wait_until(lambda: len(carla.socket.received("notification")) == 5)
    notifications = (await carla.get("/v1/notifications"))["items"]
    assert len(notifications) == 5 and {n["job"] for n in notifications} == {job["id"]}
    history = (await carla.get(f"/v1/jobs/{job['id']}/history"))["items"]
    assert history[0]["to"] == "broadcasted" and history[-1]["to"] == "completed"
    assert [h["seq"] for h in history] == sorted(h["seq"] for h in history)

    # Nobody else ever received an event of the job.
    for stranger in (other, gus, pending):
        assert not [p for p in stranger.socket.pushes if job["id"] in str(p)]
    assert not loser.socket.received("job_accepted") and not loser.socket.received("job.status")


async def test_a_declined_offer_leaves_the_job_open(scenario: Scenario) -> None:
    """If a technician declines an offer, ops receive the reason, and the job stays open for another technician."""
    plumbing = await scenario.create_service()
    carla, ops = await scenario.create_person("customer", "Carla"), await scenario.create_person("ops_manager", "Olga")
    tom, tara = await scenario.create_technician("Tom", plumbing), await scenario.create_technician("Tara", plumbing)
    await ops.socket.open()
    booking = {"service": plumbing, "lat": 40.75, "lon": -73.99, "address": "1 Main St"}
    job = (await carla.post("/v1/jobs", booking)).json()["job"]["id"]
    await tom.socket.wait_for("new_job_broadcast", job)
    declined = await tom.post(f"/v1/jobs/{job}/respond", {"status": "rejected", "reason": "too far"})
    assert declined.status_code == 200
    reported = (await ops.socket.wait_for("offer.declined", job))["data"]
    assert reported["technician"]["id"] == tom.id and reported["reason"] == "too far"
    assert (await tom.post(f"/v1/jobs/{job}/claim")).json()["code"] == "not_offered"
    assert (await tara.socket.claim(job))["ok"]["message"] == "Job accepted"


async def test_cancelling_informs_everybody_involved(scenario: Scenario) -> None:
    """A cancel before a claim reaches the technicians with an offer; a cancel after a claim reaches the holder, who
    then has capacity again.
    """
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    booking = {"service": plumbing, "lat": 40.75, "lon": -73.99, "address": "1 Main St"}
    first = (await carla.post("/v1/jobs", booking)).json()["job"]["id"]
    await tom.socket.wait_for("new_job_broadcast", first)
    assert (await carla.post(f"/v1/jobs/{first}/cancel", {"reason": "changed my mind"})).status_code == 200
    closed = await tom.socket.wait_for("offer.closed", first)
    assert closed["data"]["reason"] == "cancelled"
    second = (await carla.post("/v1/jobs", booking)).json()["job"]["id"]
    await tom.socket.wait_for("new_job_broadcast", second)
    await tom.socket.claim(second)
    await carla.post(f"/v1/jobs/{second}/cancel", {})
    assert (await tom.socket.wait_for("job.cancelled", second))["data"]["job"]["status"] == "cancelled"
    await wait_until(lambda: tom.socket.received("notification", None))
    third = (await carla.post("/v1/jobs", booking)).json()["job"]["id"]
    assert (await tom.socket.wait_for("new_job_broadcast", third))["data"]["offer"]["job"]["id"] == third
    assert (await carla.post(f"/v1/jobs/{first}/cancel")).status_code == 200, (
        "the caller's latest step has the same reply"
    )
    assert (await scenario.admin.post(f"/v1/jobs/{first}/cancel")).json()["code"] == "cancelled"


async def test_ops_and_services_book_for_a_customer_once_per_reference(scenario: Scenario) -> None:
    """Ops must name the customer of a booking; a repeat with the same `reference` returns the first job, and a
    different booking with it is refused with `duplicate`.
    """
    plumbing = await scenario.create_service()
    carla, ops = await scenario.create_person("customer", "Carla"), await scenario.create_person("ops_manager", "Olga")
    booking = {"service": plumbing, "lat": 40.75, "lon": -73.99, "address": "1 Main St", "reference": "A-1"}
    assert (await ops.post("/v1/jobs", booking)).json()["errors"][0]["pointer"] == "/customer"
    full_booking = {**booking, "customer": carla.id, "metadata": {"lift": True}}
    first = await ops.post("/v1/jobs", full_booking)
    assert first.status_code == 201 and first.json()["job"]["metadata"] == {"lift": True}
    again = await ops.post("/v1/jobs", full_booking)
    assert (again.status_code, again.json()["job"]["id"]) == (200, first.json()["job"]["id"])
    other = await ops.post("/v1/jobs", {**booking, "customer": carla.id})
    assert (other.status_code, other.json()["code"], other.json()["job"]) == (
        409,
        "duplicate",
        {"id": first.json()["job"]["id"]},
    )
    assert [j["id"] for j in (await carla.get("/v1/jobs"))["items"]] == [first.json()["job"]["id"]]


async def test_a_suspended_technician_keeps_the_job_and_loses_access(scenario: Scenario) -> None:
    """A suspended technician stays the holder of their job, but at once their requests are refused, their socket is
    closed with 4502, and they receive no new offer.
    """
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    tara = await scenario.create_technician("Tara", plumbing)
    booking = {"service": plumbing, "lat": 40.75, "lon": -73.99, "address": "1 Main St"}
    job = (await carla.post("/v1/jobs", booking)).json()["job"]["id"]
    await tom.socket.wait_for("new_job_broadcast", job)
    await tom.socket.claim(job)
    suspended = await scenario.admin.post(f"/v1/users/{tom.id}/suspend", {"reason": "fraud", "jobs": "keep"})
    assert suspended.status_code == 200
    assert (await tom.request("GET", "/v1/me")).json()["code"] == "account_not_approved"
    await wait_until(lambda: tom.socket.close_code == 4502)
    job_view = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert job_view["technician"]["id"] == tom.id
    second = (await carla.post("/v1/jobs", booking)).json()["job"]["id"]
    await tara.socket.wait_for("new_job_broadcast", second)
    assert not [p for p in tom.socket.pushes if second in str(p)]
