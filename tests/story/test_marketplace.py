"""`marketplace`: bids, codes at the door, locked prices. Read it as the manual."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from engine.process.settings import Settings
from tests.story.conftest import Person, Town
from tests.support.clock import advance
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

PLACE = {"lat": 40.7512, "lon": -73.9921, "address": "1 Main St", "notes": "Sink"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A zone that is a marketplace."""
    return msgspec.structs.replace(settings, blueprint="marketplace")


async def give(who: Person, path: str, **body: Any) -> dict[str, Any]:
    """What must work."""
    done = await who.post(path, body)
    assert done.status_code in (200, 201), done.text
    found: dict[str, Any] = done.json()
    return found


async def post(who: Person, service: str, **more: Any) -> str:
    """A new job's id."""
    job: str = (await give(who, "/v1/jobs", service=service, **PLACE, **more))["job"]["id"]
    return job


async def bid(who: Person, job: str, **body: Any) -> str:
    """A new bid's id."""
    found: str = (await give(who, f"/v1/jobs/{job}/bids", **body))["bid"]["id"]
    return found


async def scheduled(town: Town, carla: Person, tom: Person, service: str, **more: Any) -> str:
    """A job that was posted, bid for and given to Tom, who has heard of it."""
    job = await post(carla, service, **more)
    await give(carla, f"/v1/jobs/{job}/bids/{await bid(tom, job)}/accept")
    await tom.socket.wait_for("JOB_ASSIGNED", job)
    return job


def code_of(refused: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return refused.status_code, refused.json()["code"]


def about(who: Person, job: str) -> list[str]:
    """The names of all that somebody was pushed about a job."""
    return [push["event"] for push in who.socket.pushes if job in str(push)]


async def test_the_whole_story(town: Town) -> None:
    """Posted, bid for, one accepted, started and completed with codes, confirmed, paid; each step told to both sides
    on all their connections, and to nobody else.
    """
    plumbing, gardening = await town.service(), await town.service("Gardening")
    carla, otto = await town.person("customer", "Carla"), await town.person("customer", "Otto")
    ops, pay = await town.person("ops_manager", "Olga"), await town.person("service", "Payments")
    tom, tara = await town.technician("Tom", plumbing), await town.technician("Tara", plumbing)
    gus = await town.technician("Gus", gardening)
    for person in (carla, otto, ops, pay):
        await person.socket.open()
    phone = await SocketClient(carla.socket.url, carla.bearer).open()

    # A customer posts an open job; technicians are invited to bid, and see its public part.
    posted = (await give(carla, "/v1/jobs", service=plumbing, **PLACE, amount=6000))["job"]
    job = posted["id"]
    assert (posted["status"], posted["amount"], posted["actions"]) == ("open", 6000, ["award", "cancel"])
    for technician in (tom, tara):
        offer = (await technician.socket.wait_for("offer.created", job))["data"]["offer"]
        assert not {"customer", "address", "reference", "metadata"} & set(offer["job"])
        assert (await technician.get(f"/v1/jobs/{job}"))["job"]["actions"] == ["bid"]

    # They bid, with a proposed amount if they like. A bid is between him and the customer.
    toms = await bid(tom, job, amount=5500, note="Tomorrow at nine")
    taras = await bid(tara, job)
    await wait_until(
        lambda: len(carla.socket.received("bid.created", job)) == 2 and len(phone.received("bid.created", job)) == 2
    )
    told = carla.socket.received("bid.created", job)[0]["data"]
    assert told["bid"]["id"] == toms and told["bid"]["technician"] == {"id": tom.id, "name": "Tom", "rating": 4.5}
    assert (told["bid"]["amount"], told["bid"]["note"]) == (5500, "Tomorrow at nine")
    assert code_of(await tom.post(f"/v1/jobs/{job}/bids", {"amount": 1})) == (409, "duplicate")
    assert [b["id"] for b in (await carla.get(f"/v1/jobs/{job}/bids"))["items"]] == [toms, taras]
    assert [b["id"] for b in (await tara.get(f"/v1/jobs/{job}/bids"))["items"]] == [taras]
    assert (await tom.get("/v1/offers"))["items"] == []
    for stranger in (otto, gus):
        assert (await stranger.call("GET", f"/v1/jobs/{job}/bids")).status_code == 404
    assert code_of(await otto.post(f"/v1/jobs/{job}/bids/{toms}/accept")) == (404, "not_found")
    assert (await tara.post(f"/v1/jobs/{job}/bids/{taras}/accept")).status_code == 403

    # The customer accepts one: on a flat job its amount is the price. The other bid is declined.
    given = await give(carla, f"/v1/jobs/{job}/bids/{toms}/accept")
    assert given["message"] == "Bid accepted" and given["job"]["amount"] == 5500
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
    assert code_of(await carla.post(f"/v1/jobs/{job}/bids/{taras}/accept")) == (409, "illegal_transition")

    # The codes are the customer's, with his job; the technician gives them at the door.
    codes = (await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]
    assert set(codes) == {"start", "completion"} and given["job"]["codes"] == codes
    assert "codes" not in (await tom.get(f"/v1/jobs/{job}"))["job"]
    wrong = await tom.post(f"/v1/jobs/{job}/start", {"code": f"{(int(codes['start']) + 1) % 10**6:06d}"})
    assert code_of(wrong) == (403, "wrong_code") and wrong.json()["attempts_left"] == 4
    await give(tom, f"/v1/jobs/{job}/start", code=codes["start"])
    started = (await carla.socket.wait_for("JOB_STARTED", job))["data"]
    assert (started["jobId"], started["status"], started["job"]["status"]) == (job, "IN_PROGRESS", "in_progress")
    assert started["startedAt"] == started["job"]["at"]["in_progress"]
    assert code_of(await carla.post(f"/v1/jobs/{job}/cancel")) == (409, "illegal_transition")
    await give(tom, f"/v1/jobs/{job}/complete", code=codes["completion"])
    completed = (await carla.socket.wait_for("JOB_COMPLETED", job))["data"]
    assert (completed["jobId"], completed["status"]) == (job, "COMPLETED_BY_TECHNICIAN")
    assert (await carla.socket.wait_for("job.status", job))["data"]["to"] == "awaiting_confirmation"

    # The customer confirms, once; the payment service captures; `paid` is final.
    await give(carla, f"/v1/jobs/{job}/confirm")
    asked = (await pay.socket.wait_for("payment.requested", job))["data"]["payment"]
    assert (asked["kind"], asked["amount"], asked["currency"]) == ("charge", 5500, "USD")
    capture = {"reference": "pi_1", "status": "captured", "amount": 5500, "currency": "USD"}
    await give(pay, f"/v1/jobs/{job}/payments", **capture)
    for person in (carla, tom, ops, pay):
        paid = (await person.socket.wait_for("PAYMENT_CAPTURED", job))["data"]
        assert (paid["jobId"], paid["status"], paid["paymentId"]) == (job, "PAID", "pi_1")
    # The technician is told that the work was confirmed, and that the money came.
    await wait_until(lambda: len(tom.socket.received("notification")) == 3)
    assert [n["data"]["title"] for n in tom.socket.received("notification")] == [
        "The job is yours",
        "Confirmed",
        "Payment received",
    ]
    for who, command in ((carla, "cancel"), (carla, "confirm"), (tom, "unassign"), (ops, "cancel")):
        assert code_of(await who.post(f"/v1/jobs/{job}/{command}")) == (409, "illegal_transition")

    # Every change is in the history: when, who, from, to, why.
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

    # And nobody else ever heard of it; the loser of nothing but his own bid, and nobody of the codes.
    for stranger in (otto, gus):
        assert about(stranger, job) == []
    assert set(about(tara, job)) == {"offer.created", "bid.created", "bid.closed"}
    assert not [p for p in tara.socket.pushes if toms in str(p)]
    for person in (carla, tom, tara, ops, pay):
        assert not [p for p in person.socket.pushes if codes["start"] in str(p) or codes["completion"] in str(p)]
    await phone.close()


async def test_a_technician_asked_by_name(town: Town) -> None:
    """The job is `requested`; he says yes, and it is his; or no, and it is open to the bids of all."""
    plumbing = await town.service()
    carla = await town.person("customer", "Carla")
    tom, tara = await town.technician("Tom", plumbing), await town.technician("Tara", plumbing)
    await carla.socket.open()
    first, second = [await post(carla, plumbing, technician=tom.id) for _ in range(2)]
    for job in (first, second):
        assert (await tom.socket.wait_for("offer.created", job))["data"]["offer"]["job"]["status"] == "requested"
        assert (await tara.call("GET", f"/v1/jobs/{job}")).status_code == 404
    assert (await tom.get(f"/v1/jobs/{first}"))["job"]["actions"] == ["accept", "decline"]
    await give(tom, f"/v1/jobs/{first}/accept")
    assigned = (await carla.socket.wait_for("JOB_ASSIGNED", first))["data"]
    assert (assigned["status"], assigned["technicianId"]) == ("SCHEDULED", tom.id)
    assert set((await carla.get(f"/v1/jobs/{first}"))["job"]["codes"]) == {"start", "completion"}

    await give(tom, f"/v1/jobs/{second}/decline", reason="away")
    told = (await carla.socket.wait_for("job.status", second))["data"]
    assert (told["from"], told["to"], told["reason"]) == ("requested", "open", "away")
    await tara.socket.wait_for("offer.created", second)
    assert about(tara, first) == []
    await give(carla, f"/v1/jobs/{second}/bids/{await bid(tara, second)}/accept")
    assert (await tara.socket.wait_for("JOB_ASSIGNED", second))["data"]["technicianId"] == tara.id
    assert not tom.socket.received("JOB_ASSIGNED", second)


async def test_open_again_when_the_technician_leaves(town: Town) -> None:
    """A scheduled job is not cancelled but unassigned: what was captured is asked back, the leaver is not asked again,
    and the codes are shown again when somebody else has it.
    """
    plumbing = await town.service()
    carla, pay = await town.person("customer", "Carla"), await town.person("service", "Payments")
    tom, tara = await town.technician("Tom", plumbing), await town.technician("Tara", plumbing)
    await carla.socket.open()
    await pay.socket.open()
    job = await scheduled(town, carla, tom, plumbing)
    assert code_of(await carla.post(f"/v1/jobs/{job}/cancel")) == (409, "illegal_transition")
    paid = {"reference": "pi_1", "status": "captured", "amount": 1200, "currency": "USD"}
    assert (await pay.post(f"/v1/jobs/{job}/payments", paid)).status_code == 201
    await give(tom, f"/v1/jobs/{job}/unassign", reason="ill")
    for person in (carla, tom):
        told = (await person.socket.wait_for("job.unassigned", job))["data"]
        assert (told["from"], told["to"], told["reason"]) == ("scheduled", "open", "ill")
    assert (await tom.socket.wait_for("bid.closed", job))["data"]["reason"] == "unassigned"
    asked = (await pay.socket.wait_for("payment.requested", job))["data"]["payment"]
    assert (asked["kind"], asked["amount"], asked["currency"]) == ("refund", 1200, "USD")
    assert code_of(await tom.post(f"/v1/jobs/{job}/bids")) == (409, "not_offered")
    assert "codes" not in (await carla.get(f"/v1/jobs/{job}"))["job"]
    await give(carla, f"/v1/jobs/{job}/bids/{await bid(tara, job)}/accept")
    assert (await tara.socket.wait_for("JOB_ASSIGNED", job))["data"]["technicianId"] == tara.id
    assert set((await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]) == {"start", "completion"}


async def test_an_open_job_is_cancelled_or_runs_out(town: Town) -> None:
    """`JOB_CANCELLED` to the customer alone while nobody was assigned; who had bid hears that his bid is closed, who
    was invited that his offer is.
    """
    plumbing = await town.service()
    carla = await town.person("customer", "Carla")
    tom, tara = await town.technician("Tom", plumbing), await town.technician("Tara", plumbing)
    await carla.socket.open()
    first, second = await post(carla, plumbing), await post(carla, plumbing)
    for job in (first, second):
        await tara.socket.wait_for("offer.created", job)
        await bid(tom, job)
    await give(carla, f"/v1/jobs/{first}/cancel", reason="changed my mind")
    cancelled = (await carla.socket.wait_for("JOB_CANCELLED", first))["data"]
    assert (cancelled["jobId"], cancelled["status"], cancelled["reason"]) == (first, "CANCELLED", "changed my mind")
    assert cancelled["job"]["status"] == "cancelled"
    await advance(town.server.engine, 604_801)
    assert (await carla.socket.wait_for("job.expired", second, 30))["data"]["job"]["status"] == "expired"
    for job, reason in ((first, "cancelled"), (second, "expired")):
        assert (await tom.socket.wait_for("bid.closed", job))["data"]["reason"] == reason
        assert code_of(await tom.post(f"/v1/jobs/{job}/bids"))[0] == 409
    assert (await tara.socket.wait_for("offer.closed", first))["data"]["reason"] == "cancelled"
    assert not tom.socket.received("JOB_CANCELLED") and not tara.socket.received("bid.closed")


async def test_what_may_be_changed_and_when(town: Town) -> None:
    """Open: everything; scheduled: all but the price, which needs the other side's yes; started: nothing."""
    plumbing = await town.service()
    carla, tom = await town.person("customer", "Carla"), await town.technician("Tom", plumbing)
    await carla.socket.open()
    job = await post(carla, plumbing)
    assert (await carla.call("PATCH", f"/v1/jobs/{job}", {"amount": 5200})).json()["job"]["amount"] == 5200
    await give(carla, f"/v1/jobs/{job}/bids/{await bid(tom, job)}/accept")
    assert (await carla.call("PATCH", f"/v1/jobs/{job}", {"notes": "Ring twice"})).status_code == 200
    assert code_of(await carla.call("PATCH", f"/v1/jobs/{job}", {"amount": 1}))[0] == 409
    proposal = (await give(tom, f"/v1/jobs/{job}/price-proposals", amount=7000, reason="two sinks"))["proposal"]["id"]
    assert (await carla.socket.wait_for("price.proposed", job))["data"]["proposal"]["amount"] == 7000
    await give(carla, f"/v1/jobs/{job}/price-proposals/{proposal}/accept")
    for person in (carla, tom):
        changed = (await person.socket.wait_for("PRICE_CHANGED", job))["data"]
        assert (changed["jobId"], changed["newAmount"], changed["paymentIntentUpdated"]) == (job, 7000, False)
    start = (await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]["start"]
    await give(tom, f"/v1/jobs/{job}/start", code=start)
    assert code_of(await tom.post(f"/v1/jobs/{job}/price-proposals", {"amount": 1})) == (409, "price_locked")
    for change in ({"notes": "x"}, {"amount": 1}):
        assert (await carla.call("PATCH", f"/v1/jobs/{job}", change)).status_code == 409

    # Work in progress cannot be cancelled; work done can, by ops alone, and both sides are told.
    for who in (carla, town.admin):
        assert code_of(await who.post(f"/v1/jobs/{job}/cancel")) == (409, "illegal_transition")
    await give(tom, f"/v1/jobs/{job}/complete", code=(await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]["completion"])
    await give(town.admin, f"/v1/jobs/{job}/cancel", reason="never done")
    for person in (carla, tom):
        cancelled = (await person.socket.wait_for("JOB_CANCELLED", job))["data"]
        assert (cancelled["jobId"], cancelled["status"]) == (job, "CANCELLED")


async def test_work_that_nobody_confirms_is_confirmed_after_two_days(town: Town) -> None:
    """By itself, once: the payment is asked for, and the technician is told that the work was confirmed."""
    plumbing = await town.service()
    carla, tom = await town.person("customer", "Carla"), await town.technician("Tom", plumbing)
    job = await scheduled(town, carla, tom, plumbing)
    codes = (await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]
    await give(tom, f"/v1/jobs/{job}/start", code=codes["start"])
    await give(tom, f"/v1/jobs/{job}/complete", code=codes["completion"])
    await advance(town.server.engine, 172_799 - 60)
    assert not tom.socket.received("payment.requested", job)
    await advance(town.server.engine, 61)
    asked = (await tom.socket.wait_for("payment.requested", job, 30))["data"]
    assert (asked["payment"]["kind"], asked["actor"]["role"]) == ("charge", "engine")
    await wait_until(lambda: [n for n in tom.socket.received("notification") if n["data"]["title"] == "Confirmed"])
    assert code_of(await carla.post(f"/v1/jobs/{job}/confirm")) == (409, "illegal_transition")


async def test_a_client_without_a_socket_polls(town: Town) -> None:
    """It is told how often: every 60 s while connected, 15 s while not; and by a poll it misses nothing."""
    plumbing = await town.service()
    carla, tom = await town.person("customer", "Carla"), await town.technician("Tom", plumbing)
    assert (await carla.get("/v1/me"))["poll"] == {"connected": 60, "disconnected": 15}
    start = (await carla.get("/v1/sync"))["cursor"]["main"]
    job = await scheduled(town, carla, tom, plumbing)
    heard = await carla.get(f"/v1/events?after=main:{start['epoch']}:{start['seq']}")
    mine = [e["event"] for e in heard["events"] if e["event"] != "notification"]
    assert [e for e in mine if e != "job.searching"] == ["job.created", "bid.created", "JOB_ASSIGNED", "bid.accepted"]
    assert heard["recovered"] and all(job in str(e) for e in heard["events"])
