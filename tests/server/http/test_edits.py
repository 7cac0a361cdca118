"""Changing what was booked: by the edit table of its blueprint, told to all concerned, and to nobody else."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Role, ServiceId
from engine.workers import scheduler
from server.serve import Running
from tests.server.http import market, people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.support import event_log
from tests.support.wait import wait_until

ELSEWHERE = {"lat": 52.55, "lon": 13.45}


async def patch(who: Client, job: str, key: str | None = None, **change: Any) -> Any:
    """One edit; `If_Match=` is a header."""
    headers = {"If_Match": change.pop("If_Match")} if "If_Match" in change else {}
    return await who("PATCH", f"/v1/jobs/{job}", change, Idempotency_Key=key or str(uuid.uuid4()), **headers)


def refused(answer: Any) -> tuple[int, str, set[str]]:
    """Status, code and fields of a refused edit."""
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
async def test_what_is_malformed_names_its_fields(customer: Client, change: dict[str, Any], named: set[str]) -> None:
    """Bounds are those of a booking; what is no field of the edit table is unknown."""
    assert pointers(await patch(customer, "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", **change)) == named


async def test_who_may_not(
    customer: Client, at_work: Client, book: Book, join: Join, staff: dict[Role, Client]
) -> None:
    """Technicians, mediators and onboarding managers never; to other customers, and to a service that did not book it,
    the job is not there. One that did may.
    """
    job = await book(customer, blueprint="marketplace")
    for who in (at_work, staff["mediator"], staff["onboarding_manager"]):
        assert code_of(await patch(who, job["id"], notes="x")) == (403, "forbidden")
    for who in (await join("customer"), staff["service"]):
        assert code_of(await patch(who, job["id"], notes="x")) == (404, "not_found")
    body = {"service": job["service"], **HERE, "address": "Torstrasse 1", "customer": customer.user}
    made = await staff["service"]("POST", "/v1/jobs", {**body, "blueprint": "marketplace"})
    booked = str(made.json()["job"]["id"])
    for who in (customer, staff["service"], staff["ops_manager"]):
        assert (await patch(who, booked, notes=f"by {who.user}")).json()["job"]["notes"] == f"by {who.user}"


async def test_by_state(customer: Client, at_work: Client, book: Book) -> None:
    """Open: everything. Booked: all but the price, of which only a proposal makes another. Under way: nothing, and the
    price is locked.
    """
    job = str((await book(customer, blueprint="marketplace"))["id"])
    when = (datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="milliseconds")
    everything = {"address": "Elsewhere 2", "postal_code": "10115", "amount": 100, "currency": "USD", "notes": "n"}
    answer = await patch(customer, job, **ELSEWHERE, **everything, scheduled_for=when, metadata={"floor": 3})
    assert answer.status_code == 200, answer.text
    told = answer.json()["job"]
    assert {name: told[name] for name in everything} == everything
    assert (told["lat"], told["metadata"]) == (52.55, {"floor": 3})
    assert datetime.fromisoformat(told["scheduled_for"]) == datetime.fromisoformat(when)
    taken = await market.book_and_accept(customer, at_work, book)
    assert refused(await patch(customer, taken, amount=1)) == (409, "price_locked", {"/amount"})
    assert refused(await patch(customer, taken, currency="USD")) == (409, "price_locked", {"/currency"})
    assert (await patch(customer, taken, amount=9000, notes="as it was")).json()["job"]["notes"] == "as it was"
    code = (await market.read_codes(customer, taken))["start"]
    await market.run_command(at_work, taken, "start", code=code)
    before = await market.read_job(customer, taken)
    assert refused(await patch(customer, taken, amount=1)) == (409, "price_locked", {"/amount"})
    assert refused(await patch(customer, taken, notes="x")) == (409, "not_editable", {"/notes"})
    assert refused(await patch(customer, taken, notes="x", amount=1))[1] == "not_editable"
    assert await market.read_job(customer, taken) == before


async def test_a_currency_alone_relabels_no_price(customer: Client, book: Book) -> None:
    """In a booking the service's own holds; in an edit the amount has to come with it."""
    job = await book(customer, blueprint="marketplace", amount=None, currency="USD")
    assert job["currency"] == "EUR"
    assert pointers(await patch(customer, job["id"], currency="USD")) == {"/currency"}
    assert (await patch(customer, job["id"], currency="EUR")).status_code == 200
    told = (await patch(customer, job["id"], currency="USD", amount=700)).json()["job"]
    assert (told["amount"], told["currency"]) == (700, "USD")


async def test_without_a_lock_a_price_is_a_field_like_others(customer: Client, book: Book) -> None:
    """Where no price is proposed and none is locked, what the table does not name is `not_editable`."""
    job = str((await book(customer))["id"])
    assert refused(await patch(customer, job, amount=1)) == (409, "not_editable", {"/amount"})
    assert refused(await patch(customer, job, address="Y")) == (409, "not_editable", {"/address"})
    assert (await patch(customer, job, notes="Y")).status_code == 200
    await market.run_command(customer, job, "cancel")
    assert code_of(await patch(customer, job, notes="Z")) == (409, "not_editable")


async def test_a_service_must_be_there_and_the_holder_must_do_it(
    customer: Client, at_work: Client, book: Book, admin: Client
) -> None:
    """Unknown, not on offer, not the technician's, or priced otherwise once the price is agreed: refused."""
    job = await market.book_and_accept(customer, at_work, book)
    assert pointers(await patch(customer, job, service="srv_none")) == {"/service"}
    off = await people.make_service(admin)
    await admin("PATCH", f"/v1/services/{off}", {"active": False})
    assert code_of(await patch(customer, job, service=off)) == (422, "service_inactive")
    other = await people.make_service(admin)
    assert pointers(await patch(customer, job, service=other)) == {"/service"}
    hourly = {"name": "By the hour", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "hourly"}
    by_hour = (await admin("POST", "/v1/services", hourly)).json()["service"]["id"]
    assert refused(await patch(customer, job, service=by_hour)) == (409, "price_locked", {"/amount"})
    open_job = str((await book(customer, blueprint="marketplace"))["id"])
    told = (await patch(customer, open_job, service=by_hour, amount=2500)).json()["job"]
    assert (told["pricing"], told["service"], told["amount"]) == ("hourly", by_hour, 2500)


async def test_versions_and_keys(site: Running, customer: Client, book: Book) -> None:
    """Another version is refused with the present job; the same key acts once; what is so already changes nothing."""
    job, key = await book(customer, blueprint="marketplace"), str(uuid.uuid4())
    name = str(job["id"])
    stale = await patch(customer, name, notes="x", version=9)
    assert code_of(stale) == (412, "version_conflict") and stale.json()["job"]["version"] == 1
    assert code_of(await patch(customer, name, notes="x", If_Match='"9"')) == (412, "version_conflict")
    first = await patch(customer, name, key, notes="one", version=1)
    assert (first.headers["etag"], first.json()["job"]["version"]) == ('"2"', 2)
    await patch(customer, name, notes="two")
    again = await patch(customer, name, key, notes="one", version=1)
    assert (again.headers["idempotency-replayed"], again.json()["job"]["notes"]) == ("true", "one")
    assert code_of(await patch(customer, name, key, notes="three", version=1)) == (422, "reused_key")
    same = await patch(customer, name, notes="two")
    assert (same.status_code, same.json()["job"]["version"]) == (200, 3)
    assert (await patch(customer, name)).json()["job"]["version"] == 3
    assert len(await market.job_events(site, "job.updated", name)) == 2


async def test_edits_that_cross_all_stand(site: Running, customer: Client, book: Book, admin: Client) -> None:
    """Twelve fields of metadata and notes at once: nobody's change is lost, each is its own version."""
    job = str((await book(customer, blueprint="marketplace"))["id"])
    changes: list[dict[str, Any]] = [
        {"address": "A"},
        {"postal_code": "B"},
        {"notes": "C"},
        {"amount": 7},
        {"metadata": {"d": 1}},
        {"lat": 1.5, "lon": 1.5},
    ]
    answers = await asyncio.gather(*(patch(who, job, **each) for each in changes for who in (customer, admin)))
    assert {answer.status_code for answer in answers} == {200}
    now = await market.read_job(customer, job)
    assert all(now[name] == value for each in changes for name, value in each.items())
    assert now["version"] == 1 + len(await market.job_events(site, "job.updated", job))


async def test_who_hears_of_it(site: Running, customer: Client, at_work: Client, book: Book, join: Join) -> None:
    """Parties and ops the whole job; who holds an open offer its public part; who lost it in the change hears that."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(at_work, job)
    answer = await patch(customer, job, notes="Second floor", metadata={"secret": "4711"})
    [updated] = await market.job_events(site, "job.updated", job)
    assert set(updated.to) == {f"user:{customer.user}", "role:ops", f"job:{job}"}
    data = event_log.payload(updated)
    assert data["changed"] == ["notes", "metadata"] and data["job"]["version"] == answer.json()["job"]["version"]
    assert data["actor"] == {"id": customer.user, "role": "customer"}
    offers = await market.job_events(site, "offer.updated", job)
    assert [channel for event in offers for channel in event.to].count(f"user:{at_work.user}") == 1
    offer = next(event_log.payload(event)["offer"] for event in offers if f"user:{at_work.user}" in event.to)
    assert "notes" not in offer["job"] and (offer["status"], offer["wave"]) == ("sent", 1)
    assert b"4711" not in b"".join(event.data for event in offers) and "address" not in offer["job"]
    [item] = [i for i in (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"] if i["command"] == "edit"]
    assert item["actor"] == f"customer:{customer.user}"


async def test_another_service_moves_the_job_to_others(
    site: Running, customer: Client, at_work: Client, book: Book, join: Join, admin: Client
) -> None:
    """Out of one index and into the other: who does not do it loses his offer, who does it is asked."""
    fresh = await people.make_service(admin)
    able = await join("technician")
    await people.approve(able, admin, fresh)
    await people.go_online(able)
    job = await book(customer, blueprint="marketplace")
    name = str(job["id"])
    await people.wait_for_offer(at_work, name)
    assert (await patch(customer, name, service=fresh, **ELSEWHERE)).status_code == 200
    await people.wait_for_offer(able, name)
    assert name not in {o["job"]["id"] for o in (await at_work("GET", "/v1/offers?limit=200")).json()["items"]}
    closed = [e for e in await market.job_events(site, "offer.closed", name) if f"user:{at_work.user}" in e.to]
    assert [event_log.payload(event)["reason"] for event in closed] == ["withdrawn"]
    demand = [keys.job_demand(DEFAULT_ZONE, ServiceId(each)) for each in (job["service"], fresh)]
    places = [await site.engine.store.redis.geopos(index, name) for index in demand]
    assert places[0] == [None]
    assert places[1][0] == pytest.approx((ELSEWHERE["lon"], ELSEWHERE["lat"]), abs=1e-4)
    assert (await market.read_job(able, name))["lat"] == round(ELSEWHERE["lat"], 3)


async def test_another_time_moves_release_and_end(site: Running, customer: Client, book: Book) -> None:
    """A job put off is looked for an hour before its new time, and expires as long after that as it would have."""
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    job = await book(customer, scheduled_for=soon)
    name = JobId(str(job["id"]))
    when = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    told = (await patch(customer, name, scheduled_for=when.isoformat())).json()["job"]
    assert datetime.fromisoformat(told["expires_at"]) == when - timedelta(hours=1) + timedelta(minutes=15)
    release = (when - timedelta(hours=1)).timestamp() * 1000
    due = keys.due_tasks(DEFAULT_ZONE)

    async def put_off() -> bool:
        found = await site.engine.store.redis.zmscore(due, [f"wave:{name}:1", f"expire:{name}"])
        return found == [release, release + 900_000]

    await wait_until(put_off, what="the new times, also after a wave that was taken as due before")
    await scheduler.open_wave(site.engine, DEFAULT_ZONE, name, 1)
    assert await put_off() and not await market.job_events(site, "job.searching", name)
    past = datetime.now(UTC) - timedelta(hours=1)
    assert pointers(await patch(customer, name, scheduled_for=past.isoformat())) == {"/scheduled_for"}
    now = (await patch(customer, name, scheduled_for=None)).json()["job"]
    assert now["scheduled_for"] is None
    assert datetime.fromisoformat(now["expires_at"]) < datetime.now(UTC) + timedelta(minutes=16)
    assert HERE["lat"] == now["lat"]
