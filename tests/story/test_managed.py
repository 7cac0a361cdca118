"""The blueprint `managed`: the engine assigns a technician, a manager oversees, and the customer's signature releases
the payment.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from tests.story.conftest import Person, Scenario
from tests.support.clock import advance
from tests.support.photos import add_photos
from tests.support.signatures import signature_of
from tests.support.wait import wait_until

PLACE = {"lat": 40.75, "lon": -73.99, "address": "1 Main St"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `managed`."""
    return msgspec.structs.replace(settings, blueprint="managed")


async def send_command(who: Person, job: str, command: str, **fields: Any) -> dict[str, Any]:
    """Send a command that must succeed, and return the job."""
    reply = await who.post(f"/v1/jobs/{job}/{command}", fields)
    assert reply.status_code == 200, reply.text
    changed: dict[str, Any] = reply.json()["job"]
    return changed


async def wait_for_assignment(scenario: Scenario, job: str, *, not_to: str = "") -> str:
    """Wait until the engine has assigned a technician other than ``not_to``, and return their id."""

    async def assigned_technician() -> str:
        job_view = (await scenario.admin.get(f"/v1/jobs/{job}"))["job"]
        who: str = (job_view["technician"] or {}).get("id", "")
        return who if job_view["status"] == "assigned" and who != not_to else ""

    technician: str = await wait_until(assigned_technician)
    return technician


async def test_roles_are_checked(scenario: Scenario) -> None:
    """A technician cannot book, a customer cannot assign, an onboarding manager cannot reassign, and another customer
    cannot read the job.
    """
    fixing = await scenario.create_service("Fixing")
    carla, other = await scenario.create_person("customer", "Carla"), await scenario.create_person("customer", "Other")
    rita, tom = (
        await scenario.create_person("onboarding_manager", "Rita"),
        await scenario.create_technician("Tom", fixing),
    )
    assert (await tom.post("/v1/jobs", {**PLACE, "service": fixing})).status_code == 403
    job = (await carla.post("/v1/jobs", {**PLACE, "service": fixing})).json()["job"]["id"]
    await wait_for_assignment(scenario, job)
    assert (await carla.post(f"/v1/jobs/{job}/assign", {"technician": tom.id})).status_code == 403
    assert (await rita.post(f"/v1/jobs/{job}/reassign", {"technician": tom.id, "reason": "x"})).status_code == 403
    assert (await other.request("GET", f"/v1/jobs/{job}")).status_code == 404


async def test_the_best_technician_is_assigned_and_then_the_next(scenario: Scenario) -> None:
    """After a decline, and again after 60 s without an answer, the engine assigns the next best technician, and ops can
    read the scores of each choice.
    """
    fixing = await scenario.create_service("Fixing")
    carla, ops = await scenario.create_person("customer", "Carla"), await scenario.create_person("ops_manager", "Olga")
    for person in (carla, ops):
        await person.socket.open()
    near = await scenario.create_technician("Near", fixing)
    middle = await scenario.create_technician("Middle", fixing, lat=40.77)
    far = await scenario.create_technician("Far", fixing, lat=40.80)
    job = (await carla.post("/v1/jobs", {**PLACE, "service": fixing})).json()["job"]["id"]

    assert await wait_for_assignment(scenario, job) == near.id
    update = await near.socket.wait_for("booking_update", job)
    assert (update["type"], update["data"]["technician"]["id"]) == ("job.assigned", near.id)
    declined = await near.post(f"/v1/jobs/{job}/decline", {"reason": "too busy"})
    assert declined.status_code == 200, declined.text
    assert await wait_for_assignment(scenario, job, not_to=near.id) == middle.id
    await advance(scenario.server.engine, 61)  # no answer in time
    assert await wait_for_assignment(scenario, job, not_to=middle.id) == far.id
    accepted = await send_command(far, job, "accept")
    assert accepted["status"] == "accepted"
    assert (await near.post(f"/v1/jobs/{job}/accept")).status_code == 404

    waves = (await ops.get(f"/v1/jobs/{job}/waves"))["items"]
    assert len(waves) >= 3 and any("score" in str(wave) for wave in waves)
    kinds = [f["type"] for f in ops.socket.pushes if f["event"] == "booking_update"]
    assert kinds.count("job.assigned") == 3
    assert not [f for f in near.socket.pushes if f["type"] == "job.accepted" and job in str(f)]


async def test_a_technician_who_becomes_free_has_the_waiting_job_at_once(scenario: Scenario) -> None:
    """A second job waits because the only technician is busy. When they are free again, the next matching window
    assigns it to them. Only ops can read the record of the wave.
    """
    fixing = await scenario.create_service("Fixing")
    carla, ops = await scenario.create_person("customer", "Carla"), await scenario.create_person("ops_manager", "Olga")
    tom = await scenario.create_technician("Tom", fixing)
    first = (await carla.post("/v1/jobs", {**PLACE, "service": fixing})).json()["job"]["id"]
    await wait_for_assignment(scenario, first)
    second = (await carla.post("/v1/jobs", {**PLACE, "service": fixing})).json()["job"]["id"]

    async def reported() -> bool:
        return (await ops.get(f"/v1/jobs/{second}/waves"))["items"] != []

    await wait_until(reported)  # two windows found no technician
    await send_command(carla, first, "cancel")
    assert await wait_for_assignment(scenario, second) == tom.id  # within 10 s; without windows it took up to a minute
    [record] = (await ops.get(f"/v1/jobs/{second}/waves"))["items"][-1:]
    assert record["in"]["technicians"] == [tom.id] and (record["jobs"], record["why_not_nearest"]) == (1, None)
    for other in (carla, tom):
        assert (await other.request("GET", f"/v1/jobs/{second}/waves")).status_code == 403


async def test_ops_reassign_a_job(scenario: Scenario) -> None:
    """When ops reassign a job, the former holder is informed and loses the job, and the new holder accepts it."""
    fixing = await scenario.create_service("Fixing")
    carla, ops = await scenario.create_person("customer", "Carla"), await scenario.create_person("ops_manager", "Olga")
    tom, tara = (
        await scenario.create_technician("Tom", fixing),
        await scenario.create_technician("Tara", fixing, lat=40.78),
    )
    job = (await carla.post("/v1/jobs", {**PLACE, "service": fixing})).json()["job"]["id"]
    assert await wait_for_assignment(scenario, job) == tom.id
    await send_command(tom, job, "accept")
    answer = await ops.post(f"/v1/jobs/{job}/reassign", {"technician": tara.id, "reason": "closer"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["job"]["technician"]["id"] == tara.id
    await wait_until(lambda: any(f["type"] == "job.unassigned" for f in tom.socket.received("booking_update", job)))
    await wait_until(lambda: any(f["type"] == "job.assigned" for f in tara.socket.received("booking_update", job)))
    assert (await tom.post(f"/v1/jobs/{job}/depart")).status_code == 404
    await send_command(tara, job, "accept")


async def test_work_is_disputed_signed_and_paid(scenario: Scenario) -> None:
    """A booking has the price that was quoted before. Finished work waits for the customer's signature, a dispute
    blocks the signature until a mediator resolves the dispute, and the captured payment ends the job as `paid`.
    """
    fixing = await scenario.create_service("Fixing")
    carla, ops = await scenario.create_person("customer", "Carla"), await scenario.create_person("ops_manager", "Olga")
    payer, mia = await scenario.create_person("service", "Payments"), await scenario.create_person("mediator", "Mia")
    for person in (carla, ops, payer, mia):
        await person.socket.open()
    tom = await scenario.create_technician("Tom", fixing)
    place = {"lat": PLACE["lat"], "lon": PLACE["lon"]}
    quote = (await carla.post("/v1/quotes", {"blueprint": "managed", "service": fixing, **place})).json()["quote"]
    price = quote["amount"]
    booked = await carla.post("/v1/jobs", {**PLACE, "service": fixing, "quote": quote["id"]})
    job = booked.json()["job"]["id"]
    assert booked.json()["job"]["amount"] == price == sum(line["amount"] for line in quote["breakdown"])
    assert await wait_for_assignment(scenario, job) == tom.id
    for command in ("accept", "depart", "start"):
        await send_command(tom, job, command)
    for count in range(2):
        assert "finish" not in (await tom.get(f"/v1/jobs/{job}"))["job"]["actions"]
        refused = (await tom.post(f"/v1/jobs/{job}/finish")).json()
        assert (refused["code"], refused["missing"]) == ("files_missing", {"photo": 2 - count})
        await add_photos(tom.http, tom.bearer, job, count + 1)
    assert "finish" in (await tom.get(f"/v1/jobs/{job}"))["job"]["actions"]
    await send_command(tom, job, "finish")
    assert (await mia.request("GET", f"/v1/jobs/{job}")).status_code == 404
    photo = "/v1/files/" + (await carla.get(f"/v1/jobs/{job}/photos"))["items"][0]["id"]
    assert (await mia.request("GET", photo)).status_code == 404

    answer = await carla.post(f"/v1/jobs/{job}/disputes", {"reason": "the tap still drips"})
    assert answer.status_code in (200, 201), answer.text
    assert (await carla.post(f"/v1/jobs/{job}/sign")).json()["code"] in ("frozen", "illegal_transition")
    waiting = (await mia.get("/v1/disputes"))["items"]
    assert [d["job"]["id"] if isinstance(d["job"], dict) else d["job"] for d in waiting] == [job]
    assert (await mia.post(f"/v1/disputes/{waiting[0]['id']}/take")).status_code == 200
    assert (await mia.request("GET", photo)).status_code == 200, "the mediator of the dispute reads its photos"
    resolved = await mia.post(f"/v1/disputes/{waiting[0]['id']}/resolve", {"outcome": "resume", "note": "mended"})
    assert resolved.status_code == 200, resolved.text
    assert (await mia.request("GET", photo)).status_code == 404, "it is resolved"
    for person in (carla, tom, ops, mia):
        for kind in ("job.disputed", "job.resolved"):
            await wait_until(
                lambda p=person, k=kind: any(f["type"] == k for f in p.socket.received("booking_update", job))
            )  # type: ignore[misc]

    for other in (mia, payer):
        assert (await other.request("GET", f"/v1/jobs/{job}/record")).status_code == 403
    assert (await carla.post(f"/v1/jobs/{job}/sign")).json()["code"] == "unsigned"
    shown = await tom.get(f"/v1/jobs/{job}/record")
    job_view = await send_command(carla, job, "sign", **signature_of(shown))
    assert job_view["status"] == "signed"
    await wait_until(lambda: any(f["type"] == "job.signed" for f in tom.socket.received("booking_update", job)))
    push = await payer.socket.wait_for("payment.requested", job)
    assert push["data"]["payment"]["amount"] == price
    payment = {"reference": "pi_1", "status": "captured", "amount": price, "currency": "USD"}
    answer = await payer.post(f"/v1/jobs/{job}/payments", payment)
    assert answer.status_code in (200, 201), answer.text
    final = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert (final["status"], final["phase"]) == ("paid", "done")
    history = (await ops.get(f"/v1/jobs/{job}/history"))["items"]
    states = [item["to"] for item in history if item["to"]]
    wanted = ["requested", "assigned", "accepted", "on_the_way", "in_progress", "work_done", "disputed", "work_done"]
    assert [s for i, s in enumerate(states) if i == 0 or states[i - 1] != s] == [*wanted, "signed", "paid"]
    assert not [f for f in mia.socket.pushes if f["type"].startswith("payment") and job in str(f)]
    event_names = {f["event"] for p in (carla, tom, ops) for f in p.socket.pushes if f["type"].startswith("job.")}
    assert event_names == {"booking_update"}
    notifications = (await carla.get("/v1/notifications"))["items"]
    assert "The work is done: please review and sign it." in [n["body"] for n in notifications]
    titles = [n["title"] for n in notifications]
    assert {"Technician found", "Booking update", "Dispute", "Dispute settled"} == set(titles)
