"""The blueprint `marketplace`: bids, codes that the technician enters at the customer's door, locked prices. The tests
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
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

PLACE = {"lat": 40.7512, "lon": -73.9921, "address": "1 Main St", "notes": "Sink"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `marketplace`."""
    return msgspec.structs.replace(settings, blueprint="marketplace")


async def post_ok(who: Person, path: str, **body: Any) -> dict[str, Any]:
    """Send a POST that must succeed, and return its reply."""
    reply = await who.post(path, body)
    assert reply.status_code in (200, 201), reply.text
    decoded: dict[str, Any] = reply.json()
    return decoded


async def post_job(who: Person, service: str, **fields: Any) -> str:
    """Post a job and return its id."""
    job: str = (await post_ok(who, "/v1/jobs", service=service, **PLACE, **fields))["job"]["id"]
    return job


async def create_bid(who: Person, job: str, **body: Any) -> str:
    """Bid for a job and return the bid's id."""
    name: str = (await post_ok(who, f"/v1/jobs/{job}/bids", **body))["bid"]["id"]
    return name


async def create_scheduled_job(scenario: Scenario, carla: Person, tom: Person, service: str, **fields: Any) -> str:
    """Post a job, accept Tom's bid, wait until Tom has received `JOB_ASSIGNED`, and return the job's id."""
    job = await post_job(carla, service, **fields)
    await post_ok(carla, f"/v1/jobs/{job}/bids/{await create_bid(tom, job)}/accept")
    await tom.socket.wait_for("JOB_ASSIGNED", job)
    return job


def status_and_code(refused: httpx.Response) -> tuple[int, str]:
    """Return the HTTP status and the code of a refusal."""
    return refused.status_code, refused.json()["code"]


def pushed_event_names(who: Person, job: str) -> list[str]:
    """Return the names of all events about a job that were pushed to a user."""
    return [push["event"] for push in who.socket.pushes if job in str(push)]


async def requested_payments(pay: Person, job: str, count: int) -> list[dict[str, Any]]:
    """Wait until the payment service has received `count` requests of payments of a job, and return them in order."""
    await wait_until(lambda: len(pay.socket.received("payment.requested", job)) >= count)
    return [event["data"]["payment"] for event in pay.socket.received("payment.requested", job)]


async def report(pay: Person, job: str, reference: str, status: str, amount: int, **more: Any) -> httpx.Response:
    """Report the status of a payment."""
    body = {"reference": reference, "status": status, "amount": amount, "currency": "USD", **more}
    return await pay.post(f"/v1/jobs/{job}/payments", body)


async def test_a_job_is_awarded_completed_and_paid(scenario: Scenario) -> None:
    """A job is posted, bid for, awarded, started and completed with codes, confirmed and paid; both parties receive
    each step on all their connections, and nobody else does.
    """
    plumbing, gardening = await scenario.create_service(), await scenario.create_service("Gardening")
    carla, otto = await scenario.create_person("customer", "Carla"), await scenario.create_person("customer", "Otto")
    ops, pay = await scenario.create_person("ops_manager", "Olga"), await scenario.create_person("service", "Payments")
    tom, tara = await scenario.create_technician("Tom", plumbing), await scenario.create_technician("Tara", plumbing)
    gus = await scenario.create_technician("Gus", gardening)
    for person in (carla, otto, ops, pay):
        await person.socket.open()
    phone = await SocketClient(carla.socket.url, carla.bearer).open()

    # A customer posts an open job. Technicians are invited to bid, and see its public part.
    job_view = (await post_ok(carla, "/v1/jobs", service=plumbing, **PLACE, amount=6000))["job"]
    job = job_view["id"]
    assert (job_view["status"], job_view["amount"], job_view["actions"]) == ("open", 6000, ["award", "cancel"])
    for technician in (tom, tara):
        offer = (await technician.socket.wait_for("offer.created", job))["data"]["offer"]
        assert not {"customer", "address", "reference", "metadata"} & set(offer["job"])
        assert (await technician.get(f"/v1/jobs/{job}"))["job"]["actions"] == ["bid"]

    # Technicians bid, with or without an amount. Only the bidder and the customer see a bid.
    toms = await create_bid(tom, job, amount=5500, note="Tomorrow at nine")
    taras = await create_bid(tara, job)
    await wait_until(
        lambda: len(carla.socket.received("bid.created", job)) == 2 and len(phone.received("bid.created", job)) == 2
    )
    created = carla.socket.received("bid.created", job)[0]["data"]["bid"]
    assert created["id"] == toms and created["technician"] == {"id": tom.id, "name": "Tom", "rating": 4.5}
    assert (created["amount"], created["note"]) == (5500, "Tomorrow at nine")
    assert status_and_code(await tom.post(f"/v1/jobs/{job}/bids", {"amount": 1})) == (409, "duplicate")
    assert [b["id"] for b in (await carla.get(f"/v1/jobs/{job}/bids"))["items"]] == [toms, taras]
    assert [b["id"] for b in (await tara.get(f"/v1/jobs/{job}/bids"))["items"]] == [taras]
    assert (await tom.get("/v1/offers"))["items"] == []
    for stranger in (otto, gus):
        assert (await stranger.request("GET", f"/v1/jobs/{job}/bids")).status_code == 404
    assert status_and_code(await otto.post(f"/v1/jobs/{job}/bids/{toms}/accept")) == (404, "not_found")
    assert (await tara.post(f"/v1/jobs/{job}/bids/{taras}/accept")).status_code == 403

    # The customer accepts one bid; on a job with a flat price its amount is the price. The other bid is declined.
    reply = await post_ok(carla, f"/v1/jobs/{job}/bids/{toms}/accept")
    assert reply["message"] == "Bid accepted" and reply["job"]["amount"] == 5500
    for person in (carla, tom, ops):
        assigned = (await person.socket.wait_for("JOB_ASSIGNED", job))["data"]
        assert {n: assigned[n] for n in ("jobId", "status", "technicianId")} == {
            "jobId": job,
            "status": "SCHEDULED",
            "technicianId": tom.id,
        }
        assert assigned["job"]["status"] == "scheduled"
    assert await phone.wait_for("JOB_ASSIGNED", job)
    declined = (await tara.socket.wait_for("bid.closed", job))["data"]
    assert (declined["bid"]["id"], declined["bid"]["status"], declined["reason"]) == (taras, "declined", "declined")
    assert (await tom.socket.wait_for("bid.accepted", job))["data"]["bid"]["status"] == "accepted"
    assert status_and_code(await carla.post(f"/v1/jobs/{job}/bids/{taras}/accept")) == (409, "illegal_transition")

    # The award requests a hold of the agreed amount, and the payment service reports it as authorized.
    [hold] = await requested_payments(pay, job, 1)
    assert (hold["kind"], hold["amount"], hold["currency"]) == ("hold", 5500, "USD")
    assert status_and_code(await report(pay, job, "pi_1", "held", 5500)) == (422, "invalid")
    assert (await report(pay, job, "pi_1", "authorized", 5500)).status_code == 201
    for person in (carla, tom, ops):
        noted = (await person.socket.wait_for("payment.authorized", job))["data"]
        assert (noted["payment"]["kind"], noted["payment"]["reference"]) == ("hold", "pi_1")
        assert noted["job"]["paid_amount"] == 0

    # The customer sees the codes in the job. The technician enters them at the door.
    codes = (await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]
    assert set(codes) == {"start", "completion"} and reply["job"]["codes"] == codes
    assert "codes" not in (await tom.get(f"/v1/jobs/{job}"))["job"]
    wrong = await tom.post(f"/v1/jobs/{job}/start", {"code": f"{(int(codes['start']) + 1) % 10**6:06d}"})
    assert status_and_code(wrong) == (403, "wrong_code") and wrong.json()["attempts_left"] == 4
    await post_ok(tom, f"/v1/jobs/{job}/start", code=codes["start"])
    started = (await carla.socket.wait_for("JOB_STARTED", job))["data"]
    assert (started["jobId"], started["status"], started["job"]["status"]) == (job, "IN_PROGRESS", "in_progress")
    assert started["startedAt"] == started["job"]["at"]["in_progress"]
    assert status_and_code(await carla.post(f"/v1/jobs/{job}/cancel")) == (409, "illegal_transition")
    await post_ok(tom, f"/v1/jobs/{job}/complete", code=codes["completion"])
    completed = (await carla.socket.wait_for("JOB_COMPLETED", job))["data"]
    assert (completed["jobId"], completed["status"]) == (job, "COMPLETED_BY_TECHNICIAN")
    assert (await carla.socket.wait_for("job.status", job))["data"]["to"] == "awaiting_confirmation"

    # The customer confirms, once; the payment service captures; `paid` is final.
    await post_ok(carla, f"/v1/jobs/{job}/confirm")
    _, payment = await requested_payments(pay, job, 2)
    assert (payment["kind"], payment["amount"], payment["currency"]) == ("charge", 5500, "USD")
    assert (payment["of"], payment["held"]) == ("pi_1", 5500)
    capture = {"reference": "pi_1", "status": "captured", "amount": 5500, "currency": "USD"}
    await post_ok(pay, f"/v1/jobs/{job}/payments", **capture)
    for person in (carla, tom, ops, pay):
        payload = (await person.socket.wait_for("PAYMENT_CAPTURED", job))["data"]
        assert (payload["jobId"], payload["status"], payload["paymentId"]) == (job, "PAID", "pi_1")
    # The technician is notified of the confirmation and of the payment.
    await wait_until(lambda: len(tom.socket.received("notification")) == 3)
    assert [n["data"]["title"] for n in tom.socket.received("notification")] == [
        "The job is yours",
        "Confirmed",
        "Payment received",
    ]
    assert len(await requested_payments(pay, job, 2)) == 2  # a captured hold is not released
    for who, command in ((carla, "cancel"), (carla, "confirm"), (tom, "unassign"), (ops, "cancel")):
        assert status_and_code(await who.post(f"/v1/jobs/{job}/{command}")) == (409, "illegal_transition")

    # Every change is in the history: time, actor, from, to, reason.
    history = (await carla.get(f"/v1/jobs/{job}/history"))["items"]
    steps = [(line["command"], line["from"], line["to"]) for line in history if line["from"] != line["to"]]
    assert steps == [
        ("create", None, "open"),
        ("award", "open", "scheduled"),
        ("start", "scheduled", "in_progress"),
        ("complete", "in_progress", "completed_by_technician"),
        ("complete", "completed_by_technician", "awaiting_confirmation"),
        ("capture", "awaiting_confirmation", "paid"),
    ]

    # Strangers received no event, the loser only events of their own bid, and no event contains a code.
    for stranger in (otto, gus):
        assert pushed_event_names(stranger, job) == []
    assert set(pushed_event_names(tara, job)) == {"offer.created", "bid.created", "bid.closed"}
    assert not [p for p in tara.socket.pushes if toms in str(p)]
    for person in (carla, tom, tara, ops, pay):
        assert not [p for p in person.socket.pushes if codes["start"] in str(p) or codes["completion"] in str(p)]
    await phone.close()


async def test_a_technician_is_requested_by_name(scenario: Scenario) -> None:
    """A job with a named technician is `requested`: if the technician accepts, they hold the job; if they decline, all
    technicians can bid.
    """
    plumbing = await scenario.create_service()
    carla = await scenario.create_person("customer", "Carla")
    tom, tara = await scenario.create_technician("Tom", plumbing), await scenario.create_technician("Tara", plumbing)
    await carla.socket.open()
    first, second = [await post_job(carla, plumbing, technician=tom.id) for _ in range(2)]
    for job in (first, second):
        assert (await tom.socket.wait_for("offer.created", job))["data"]["offer"]["job"]["status"] == "requested"
        assert (await tara.request("GET", f"/v1/jobs/{job}")).status_code == 404
    assert (await tom.get(f"/v1/jobs/{first}"))["job"]["actions"] == ["accept", "decline"]
    await post_ok(tom, f"/v1/jobs/{first}/accept")
    assigned = (await carla.socket.wait_for("JOB_ASSIGNED", first))["data"]
    assert (assigned["status"], assigned["technicianId"]) == ("SCHEDULED", tom.id)
    assert set((await carla.get(f"/v1/jobs/{first}"))["job"]["codes"]) == {"start", "completion"}

    await post_ok(tom, f"/v1/jobs/{second}/decline", reason="away")
    step = (await carla.socket.wait_for("job.status", second))["data"]
    assert (step["from"], step["to"], step["reason"]) == ("requested", "open", "away")
    await tara.socket.wait_for("offer.created", second)
    assert pushed_event_names(tara, first) == []
    await post_ok(carla, f"/v1/jobs/{second}/bids/{await create_bid(tara, second)}/accept")
    assert (await tara.socket.wait_for("JOB_ASSIGNED", second))["data"]["technicianId"] == tara.id
    assert not tom.socket.received("JOB_ASSIGNED", second)


async def test_an_open_job_is_cancelled_or_expires(scenario: Scenario) -> None:
    """While nobody holds the job, only the customer receives `JOB_CANCELLED`; bidders receive `bid.closed`, and invited
    technicians `offer.closed`.
    """
    plumbing = await scenario.create_service()
    carla = await scenario.create_person("customer", "Carla")
    tom, tara = await scenario.create_technician("Tom", plumbing), await scenario.create_technician("Tara", plumbing)
    await carla.socket.open()
    first, second = await post_job(carla, plumbing), await post_job(carla, plumbing)
    for job in (first, second):
        await tara.socket.wait_for("offer.created", job)
        await create_bid(tom, job)
    await post_ok(carla, f"/v1/jobs/{first}/cancel", reason="changed my mind")
    cancelled = (await carla.socket.wait_for("JOB_CANCELLED", first))["data"]
    assert (cancelled["jobId"], cancelled["status"], cancelled["reason"]) == (first, "CANCELLED", "changed my mind")
    assert cancelled["job"]["status"] == "cancelled"
    await advance(scenario.server.engine, 604_801)
    assert (await carla.socket.wait_for("job.expired", second, 30))["data"]["job"]["status"] == "expired"
    for job, reason in ((first, "cancelled"), (second, "expired")):
        assert (await tom.socket.wait_for("bid.closed", job))["data"]["reason"] == reason
        assert status_and_code(await tom.post(f"/v1/jobs/{job}/bids"))[0] == 409
    assert (await tara.socket.wait_for("offer.closed", first))["data"]["reason"] == "cancelled"
    assert not tom.socket.received("JOB_CANCELLED") and not tara.socket.received("bid.closed")


async def test_work_that_nobody_confirms_is_confirmed_after_two_days(scenario: Scenario) -> None:
    """After two days the engine confirms completed work: the payment is requested and the technician is notified."""
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    job = await create_scheduled_job(scenario, carla, tom, plumbing)
    codes = (await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]
    await post_ok(tom, f"/v1/jobs/{job}/start", code=codes["start"])
    await post_ok(tom, f"/v1/jobs/{job}/complete", code=codes["completion"])
    await advance(scenario.server.engine, 172_799 - 60)
    assert [event["data"]["payment"]["kind"] for event in tom.socket.received("payment.requested", job)] == ["hold"]
    await advance(scenario.server.engine, 61)
    await wait_until(lambda: len(tom.socket.received("payment.requested", job)) == 2)
    payload = tom.socket.received("payment.requested", job)[1]["data"]
    assert (payload["payment"]["kind"], payload["actor"]["role"]) == ("charge", "engine")
    await wait_until(lambda: [n for n in tom.socket.received("notification") if n["data"]["title"] == "Confirmed"])
    assert status_and_code(await carla.post(f"/v1/jobs/{job}/confirm")) == (409, "illegal_transition")


async def test_a_client_without_a_socket_polls(scenario: Scenario) -> None:
    """`/v1/me` contains the poll intervals, 60 s while connected and 15 s otherwise, and a client that only polls
    misses no event.
    """
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    assert (await carla.get("/v1/me"))["poll"] == {"connected": 60, "disconnected": 15}
    start = (await carla.get("/v1/sync"))["cursor"]["main"]
    job = await create_scheduled_job(scenario, carla, tom, plumbing)
    page = await carla.get(f"/v1/events?after=main:{start['epoch']}:{start['seq']}")
    names = [e["event"] for e in page["events"] if e["event"] != "notification"]
    assert [e for e in names if e != "job.searching"] == [
        *("job.created", "bid.created", "JOB_ASSIGNED", "bid.accepted", "room.opened", "payment.requested")
    ]
    assert page["recovered"] and all(job in str(e) for e in page["events"])
