"""Tests of edits of a booked job: which fields the blueprint allows in each state, and who receives the change."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Role, ServiceId
from engine.workers import scheduler
from server.serve import RunningServer
from tests.server.http import market, people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.support import event_log
from tests.support.wait import wait_until

ELSEWHERE = {"lat": 52.55, "lon": 13.45}


async def edit_job(caller: Client, job: str, key: str | None = None, **change: Any) -> Any:
    """Edit a job and return the response. ``If_Match=`` sets the header. Without ``key`` a new key is used."""
    headers = {"If_Match": change.pop("If_Match")} if "If_Match" in change else {}
    return await caller("PATCH", f"/v1/jobs/{job}", change, Idempotency_Key=key or str(uuid.uuid4()), **headers)


def refusal_of(answer: Any) -> tuple[int, str, set[str]]:
    """Return the status, the code and the JSON pointers of a refused edit."""
    return (*code_of(answer), {wrong["pointer"] for wrong in answer.json()["errors"]})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lat": 1.0}, {"/lon"}),
        ({"lat": 95, "lon": 0}, {"/lat"}),
        ({"address": None}, {"/address"}),
        ({"service": None}, {"/service"}),
        ({"amount": -1}, {"/amount"}),
        ({"currency": "eur"}, {"/currency"}),
        ({"currency": "ZZZ", "amount": 1}, {"/currency"}),
        ({"status": "paid"}, {"/status"}),
        ({"metadata": {"n": 2**60}}, {"/metadata"}),
        ({"scheduled_for": "tomorrow"}, {"/scheduled_for"}),
        ({"version": "one"}, {"/version"}),
    ],
)
async def test_a_malformed_edit_is_refused(customer: Client, change: dict[str, Any], named: set[str]) -> None:
    """An edited field has the bounds of a booking, and a field that no edit may change is unknown. The refusal names
    each field.
    """
    assert pointers(await edit_job(customer, "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", **change)) == named


async def test_only_the_customer_ops_and_the_booking_service_may_edit(
    customer: Client, technician: Client, book: Book, join: Join, staff: dict[Role, Client]
) -> None:
    """The customer, ops and the service that booked the job may edit it. Technicians, mediators and onboarding managers
    are refused with 403, and another customer or service with 404.
    """
    job = await book(customer, blueprint="marketplace")
    for caller in (technician, staff["mediator"], staff["onboarding_manager"]):
        assert code_of(await edit_job(caller, job["id"], notes="x")) == (403, "forbidden")
    for caller in (await join("customer"), staff["service"]):
        assert code_of(await edit_job(caller, job["id"], notes="x")) == (404, "not_found")
    body = {"service": job["service"], **HERE, "address": "Torstrasse 1", "customer": customer.user}
    answer = await staff["service"]("POST", "/v1/jobs", {**body, "blueprint": "marketplace"})
    job_id = str(answer.json()["job"]["id"])
    for caller in (customer, staff["service"], staff["ops_manager"]):
        assert (await edit_job(caller, job_id, notes=f"by {caller.user}")).json()["job"]["notes"] == f"by {caller.user}"


async def test_editable_fields_depend_on_the_state(customer: Client, technician: Client, book: Book) -> None:
    """All fields of an open job can be edited. Once a technician accepted, an edit of the price is refused with
    `price_locked`: only a proposal changes the price. After the start no field can be edited.
    """
    job = str((await book(customer, blueprint="marketplace"))["id"])
    when = (datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="milliseconds")
    everything = {"address": "Elsewhere 2", "postal_code": "10115", "amount": 100, "currency": "USD", "notes": "n"}
    answer = await edit_job(customer, job, **ELSEWHERE, **everything, scheduled_for=when, metadata={"floor": 3})
    assert answer.status_code == 200, answer.text
    edited_job = answer.json()["job"]
    assert {name: edited_job[name] for name in everything} == everything
    assert (edited_job["lat"], edited_job["metadata"]) == (52.55, {"floor": 3})
    assert datetime.fromisoformat(edited_job["scheduled_for"]) == datetime.fromisoformat(when)
    claimed_job = await market.book_and_accept(customer, technician, book)
    assert refusal_of(await edit_job(customer, claimed_job, amount=1)) == (409, "price_locked", {"/amount"})
    assert refusal_of(await edit_job(customer, claimed_job, currency="USD")) == (409, "price_locked", {"/currency"})
    assert (await edit_job(customer, claimed_job, amount=9000, notes="as it was")).json()["job"]["notes"] == "as it was"
    code = (await market.read_codes(customer, claimed_job))["start"]
    await market.run_command(technician, claimed_job, "start", code=code)
    before = await market.read_job(customer, claimed_job)
    assert refusal_of(await edit_job(customer, claimed_job, amount=1)) == (409, "price_locked", {"/amount"})
    assert refusal_of(await edit_job(customer, claimed_job, notes="x")) == (409, "not_editable", {"/notes"})
    assert refusal_of(await edit_job(customer, claimed_job, notes="x", amount=1))[1] == "not_editable"
    assert await market.read_job(customer, claimed_job) == before


async def test_a_currency_needs_an_amount(customer: Client, book: Book) -> None:
    """A currency without an amount does not change a price: a booking has the currency of the service, and an edit is
    refused at `/currency`.
    """
    job = await book(customer, blueprint="marketplace", amount=None, currency="USD")
    assert job["currency"] == "EUR"
    assert pointers(await edit_job(customer, job["id"], currency="USD")) == {"/currency"}
    assert (await edit_job(customer, job["id"], currency="EUR")).status_code == 200
    edited_job = (await edit_job(customer, job["id"], currency="USD", amount=700)).json()["job"]
    assert (edited_job["amount"], edited_job["currency"]) == (700, "USD")


async def test_a_price_without_a_lock_is_an_ordinary_field(customer: Client, book: Book) -> None:
    """In a blueprint without price proposals, an edit of a field that the blueprint does not allow, the price too, is
    refused with `not_editable`.
    """
    job = str((await book(customer))["id"])
    assert refusal_of(await edit_job(customer, job, amount=1)) == (409, "not_editable", {"/amount"})
    assert refusal_of(await edit_job(customer, job, address="Y")) == (409, "not_editable", {"/address"})
    assert (await edit_job(customer, job, notes="Y")).status_code == 200
    await market.run_command(customer, job, "cancel")
    assert code_of(await edit_job(customer, job, notes="Z")) == (409, "not_editable")


async def test_an_edited_service_must_exist_and_fit_the_holder(
    customer: Client, technician: Client, book: Book, admin: Client
) -> None:
    """An edit of the service is refused if the service is unknown, inactive, not one of the holder's, or, after the
    price is agreed, priced in another way.
    """
    job = await market.book_and_accept(customer, technician, book)
    assert pointers(await edit_job(customer, job, service="srv_none")) == {"/service"}
    off = await people.make_service(admin)
    await admin("PATCH", f"/v1/services/{off}", {"active": False})
    assert code_of(await edit_job(customer, job, service=off)) == (422, "service_inactive")
    other = await people.make_service(admin)
    assert pointers(await edit_job(customer, job, service=other)) == {"/service"}
    hourly = {"name": "By the hour", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "hourly"}
    by_hour = (await admin("POST", "/v1/services", hourly)).json()["service"]["id"]
    assert refusal_of(await edit_job(customer, job, service=by_hour)) == (409, "price_locked", {"/amount"})
    open_job = str((await book(customer, blueprint="marketplace"))["id"])
    edited_job = (await edit_job(customer, open_job, service=by_hour, amount=2500)).json()["job"]
    assert (edited_job["pricing"], edited_job["service"], edited_job["amount"]) == ("hourly", by_hour, 2500)


async def test_versions_and_keys(site: RunningServer, customer: Client, book: Book) -> None:
    """An edit with another version is refused with `version_conflict` and the current job. A repeat with the same key
    acts once, and an edit that changes nothing emits no event.
    """
    job, key = await book(customer, blueprint="marketplace"), str(uuid.uuid4())
    name = str(job["id"])
    stale = await edit_job(customer, name, notes="x", version=9)
    assert code_of(stale) == (412, "version_conflict") and stale.json()["job"]["version"] == 1
    assert code_of(await edit_job(customer, name, notes="x", If_Match='"9"')) == (412, "version_conflict")
    first = await edit_job(customer, name, key, notes="one", version=1)
    assert (first.headers["etag"], first.json()["job"]["version"]) == ('"2"', 2)
    await edit_job(customer, name, notes="two")
    again = await edit_job(customer, name, key, notes="one", version=1)
    assert (again.headers["idempotency-replayed"], again.json()["job"]["notes"]) == ("true", "one")
    assert code_of(await edit_job(customer, name, key, notes="three", version=1)) == (422, "reused_key")
    same = await edit_job(customer, name, notes="two")
    assert (same.status_code, same.json()["job"]["version"]) == (200, 3)
    assert (await edit_job(customer, name)).json()["job"]["version"] == 3
    assert len(await market.job_events(site, "job.updated", name)) == 2


async def test_concurrent_edits_of_different_fields_are_all_stored(
    site: RunningServer, customer: Client, book: Book, admin: Client
) -> None:
    """Six concurrent edits of different fields, each sent by the customer and by an admin, are all stored. Each change
    raises the version by one and emits one `job.updated`.
    """
    job = str((await book(customer, blueprint="marketplace"))["id"])
    changes: list[dict[str, Any]] = [
        {"address": "A"},
        {"postal_code": "B"},
        {"notes": "C"},
        {"amount": 7},
        {"metadata": {"d": 1}},
        {"lat": 1.5, "lon": 1.5},
    ]
    answers = await asyncio.gather(*(edit_job(caller, job, **each) for each in changes for caller in (customer, admin)))
    assert {answer.status_code for answer in answers} == {200}
    now = await market.read_job(customer, job)
    assert all(now[name] == value for each in changes for name, value in each.items())
    assert now["version"] == 1 + len(await market.job_events(site, "job.updated", job))


async def test_the_recipients_of_an_edit(
    site: RunningServer, customer: Client, technician: Client, book: Book, join: Join
) -> None:
    """The customer and ops receive `job.updated` with the whole job. A technician with an open offer receives
    `offer.updated` with the job's public part.
    """
    job = str((await book(customer))["id"])
    await people.wait_for_offer(technician, job)
    answer = await edit_job(customer, job, notes="Second floor", metadata={"secret": "gate 4711"})
    [updated] = await market.job_events(site, "job.updated", job)
    assert set(updated.to) == {f"user:{customer.user}", "role:ops", f"job:{job}"}
    data = event_log.payload(updated)
    assert data["changed"] == ["notes", "metadata"] and data["job"]["version"] == answer.json()["job"]["version"]
    assert data["actor"] == {"id": customer.user, "role": "customer"}
    offers = await market.job_events(site, "offer.updated", job)
    assert [channel for event in offers for channel in event.to].count(f"user:{technician.user}") == 1
    offer = next(event_log.payload(event)["offer"] for event in offers if f"user:{technician.user}" in event.to)
    assert "notes" not in offer["job"] and (offer["status"], offer["wave"]) == ("sent", 1)
    assert b"gate 4711" not in b"".join(event.data for event in offers) and "address" not in offer["job"]
    [item] = [i for i in (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"] if i["command"] == "edit"]
    assert item["actor"] == f"customer:{customer.user}"


async def test_another_service_offers_the_job_to_other_technicians(
    site: RunningServer, customer: Client, technician: Client, book: Book, join: Join, admin: Client
) -> None:
    """After an edit of the service, a technician without the new service loses their offer, and a technician with it is
    offered the job. The job moves from the old service's demand index to the new one's.
    """
    fresh = await people.make_service(admin)
    able = await join("technician")
    await people.approve(able, admin, fresh)
    await people.go_online(able)
    job = await book(customer, blueprint="marketplace")
    name = str(job["id"])
    await people.wait_for_offer(technician, name)
    assert (await edit_job(customer, name, service=fresh, **ELSEWHERE)).status_code == 200
    await people.wait_for_offer(able, name)
    assert name not in {o["job"]["id"] for o in (await technician("GET", "/v1/offers?limit=200")).json()["items"]}
    closed = [e for e in await market.job_events(site, "offer.closed", name) if f"user:{technician.user}" in e.to]
    assert [event_log.payload(event)["reason"] for event in closed] == ["withdrawn"]
    demand = [keys.job_demand(DEFAULT_ZONE, ServiceId(each)) for each in (job["service"], fresh)]
    places = [await site.engine.store.redis.geopos(index, name) for index in demand]
    assert places[0] == [None]
    assert places[1][0] == pytest.approx((ELSEWHERE["lon"], ELSEWHERE["lat"]), abs=1e-4)
    assert (await market.read_job(able, name))["lat"] == round(ELSEWHERE["lat"], 3)


async def test_an_edited_time_moves_the_first_wave_and_the_expiry(
    site: RunningServer, customer: Client, book: Book
) -> None:
    """An edit of `scheduled_for` moves the first wave to an hour before the new time, and the expiry to 15 minutes
    after that wave. A wave at the old time does nothing. Without `scheduled_for` the job expires in less than 16
    minutes.
    """
    in_three_days = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    job = await book(customer, scheduled_for=in_three_days)
    name = JobId(str(job["id"]))
    when = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    edited_job = (await edit_job(customer, name, scheduled_for=when.isoformat())).json()["job"]
    assert datetime.fromisoformat(edited_job["expires_at"]) == when - timedelta(hours=1) + timedelta(minutes=15)
    release = (when - timedelta(hours=1)).timestamp() * 1000
    due = keys.due_tasks(DEFAULT_ZONE)

    async def has_new_times() -> bool:
        scores = await site.engine.store.redis.zmscore(due, [f"wave:{name}:1", f"expire:{name}"])
        return scores == [release, release + 900_000]

    await wait_until(has_new_times, what="the new times, also after a wave that was taken as due before")
    await scheduler.open_wave(site.engine, DEFAULT_ZONE, name, 1)
    assert await has_new_times() and not await market.job_events(site, "job.searching", name)
    past = datetime.now(UTC) - timedelta(hours=1)
    assert pointers(await edit_job(customer, name, scheduled_for=past.isoformat())) == {"/scheduled_for"}
    now = (await edit_job(customer, name, scheduled_for=None)).json()["job"]
    assert now["scheduled_for"] is None
    assert datetime.fromisoformat(now["expires_at"]) < datetime.now(UTC) + timedelta(minutes=16)
    assert HERE["lat"] == now["lat"]
