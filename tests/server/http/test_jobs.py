"""Tests of a job's main way over HTTP: booking, offers, concurrent claims, commands and reads."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from engine.process.settings import Settings
from engine.types import Role
from server.serve import run_server
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.server.http.people import wait_for_offer
from tests.support.http import open_http
from tests.support.wait import wait_until

NOTES = {"notes": "Gate code 4711", "public_notes": "Third floor", "postal_code": "10119"}

# Booking


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"service": "srv_none"}, {"/service"}),
        ({"lat": 90.5}, {"/lat"}),
        ({"lat": 89}, {"/lat"}),
        ({"lon": "13"}, {"/lon"}),
        ({"address": ""}, {"/address"}),
        ({"amount": "many"}, {"/amount"}),
        ({"amount": -5}, {"/amount"}),
        ({"blueprint": "no_such"}, {"/blueprint"}),
        ({"lat": None, "lon": 200, "extra": 1}, {"/lat", "/lon", "/extra"}),
    ],
)
async def test_a_bad_booking_is_refused(
    changes: dict[str, object], wrong: set[str], customer: Client, service: str
) -> None:
    """A booking with invalid fields is refused, and the refusal names all of them."""
    body = {"service": service, **HERE, "address": "Torstrasse 1", **changes}
    assert pointers(await customer("POST", "/v1/jobs", body)) == wrong


async def test_an_inactive_service_is_refused(customer: Client, admin: Client, book: Book) -> None:
    """A booking of an inactive service is refused with 422 `service_inactive`."""
    body = {"name": "Old", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat", "active": False}
    old = (await admin("POST", "/v1/services", body)).json()["service"]["id"]
    job = {"service": old, **HERE, "address": "x"}
    assert code_of(await customer("POST", "/v1/jobs", job)) == (422, "service_inactive")


async def test_times_outside_of_four_digit_years(customer: Client, technician: Client, book: Book) -> None:
    """A time whose UTC offset moves it out of the years 1 to 9999 is replaced by the nearest time in these years. It
    never causes a 500.
    """
    fix = {**HERE, "at": "0001-01-01T00:00:00+23:59"}
    assert (await technician("PUT", f"/v1/technicians/{technician.user}/location", fix)).status_code == 204
    path = f"/v1/jobs/{(await book(customer))['id']}"
    await wait_for_offer(technician, path.rpartition("/")[2])
    await technician("POST", f"{path}/claim")
    when = {"occurred_at": "0001-01-01T00:00:00+23:59"}
    assert (await technician("POST", f"{path}/depart", when)).status_code == 200
    when = {"occurred_at": "9999-12-31T23:59:59-23:59"}
    assert pointers(await technician("POST", f"{path}/arrive", when)) == {"/occurred_at"}


async def test_the_customer_of_a_booking(customer: Client, staff: dict[Role, Client], join: Join, service: str) -> None:
    """A customer books only for themselves. Ops and services must name the customer, and the named user must be a
    customer.
    """
    body = {"service": service, **HERE, "address": "x"}
    other = await join("customer")
    assert code_of(await customer("POST", "/v1/jobs", {**body, "customer": other.user})) == (403, "forbidden")
    for role in ("ops_manager", "service"):
        assert pointers(await staff[role]("POST", "/v1/jobs", body)) == {"/customer"}
        assert pointers(await staff[role]("POST", "/v1/jobs", {**body, "customer": "usr_x"})) == {"/customer"}
        answer = await staff[role]("POST", "/v1/jobs", {**body, "customer": other.user})
        assert answer.json()["job"]["customer"]["id"] == other.user


async def test_a_booking_is_made(customer: Client, service: str) -> None:
    """A booking returns 201 with Location and ETag. The job is in its first state and contains the fields of the
    booking and the actions of its customer.
    """
    body = {"service": service, **HERE, "address": "Torstrasse 1", "notes": "2nd bell", "metadata": {"floor": 3}}
    answer = await customer("POST", "/v1/jobs", body)
    job = answer.json()["job"]
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/jobs/{job['id']}")
    assert answer.headers["etag"] == f'"{job["version"]}"'
    assert (job["status"], job["phase"], job["amount"]) == ("broadcasted", "open", 9000)
    assert (job["metadata"], job["notes"], job["actions"]) == ({"floor": 3}, "2nd bell", ["cancel"])
    read = await customer("GET", answer.headers["location"])
    assert read.json()["job"]["id"] == job["id"]


async def test_a_reference_is_booked_once(staff: dict[Role, Client], customer: Client, service: str) -> None:
    """A second booking with the same reference and fields returns the first job with 200."""
    body = {"service": service, **HERE, "address": "x", "customer": customer.user, "reference": uuid.uuid4().hex}
    first = await staff["service"]("POST", "/v1/jobs", body)
    again = await staff["service"]("POST", "/v1/jobs", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["job"]["id"] == again.json()["job"]["id"]


async def test_another_booking_under_a_reference_is_duplicate(
    staff: dict[Role, Client], customer: Client, join: Join, admin: Client, service: str
) -> None:
    """A booking with a used `reference` and any other field changed or left out is refused with 409 `duplicate`, and
    the refusal names the first job. The same booking returns the first job even after its cancellation.
    """
    send, other = staff["service"], await join("customer")
    body = {"service": service, **HERE, "address": "x", "customer": customer.user, "reference": uuid.uuid4().hex}
    body |= {"amount": 4500, "currency": "EUR", "metadata": {"a": 1}}
    name = (await send("POST", "/v1/jobs", body)).json()["job"]["id"]
    changes = (
        {"service": await people.make_service(admin)},
        {"customer": other.user},
        {"blueprint": "marketplace"},
        {"lat": 52.6},
        {"address": "y"},
        {"amount": 4501},
        {"currency": "USD"},
        {"amount": None, "currency": None},
        {"scheduled_for": "2199-01-01T00:00:00Z"},
        {"notes": "Ring twice"},
        {"metadata": {"a": 2}},
    )
    for change in changes:
        answer = await send("POST", "/v1/jobs", {**body, **change})
        assert code_of(answer) == (409, "duplicate"), change
        assert answer.json()["job"] == {"id": name}
    await customer("POST", f"/v1/jobs/{name}/cancel")
    again = await send("POST", "/v1/jobs", {**body, "notes": None})
    assert (again.status_code, again.json()["job"]["id"], again.json()["job"]["status"]) == (200, name, "cancelled")
    own_answer = await customer("POST", "/v1/jobs", {**body, "address": "y"})
    assert own_answer.status_code == 201  # each user has references of their own


# Reading


async def test_a_stranger_cannot_find_the_job(
    customer: Client, join: Join, book: Book, staff: dict[Role, Client]
) -> None:
    """A user who has no relation to a job is refused with 404 for the job, its history and commands, with the same text
    as for a job that does not exist.
    """
    job = (await book(customer))["id"]
    unknown = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"
    for stranger in (await join("customer"), await join("technician"), staff["mediator"]):
        answers = [await stranger("GET", f"/v1/jobs/{name}") for name in (job, unknown)]
        assert [code_of(answer) for answer in answers] == [(404, "not_found")] * 2
        assert answers[0].json()["detail"] == answers[1].json()["detail"]
        assert code_of(await stranger("GET", f"/v1/jobs/{job}/history"))[0] == 404
    other = await join("customer")
    assert code_of(await other("POST", f"/v1/jobs/{job}/cancel")) == (404, "not_found")
    assert (await other("GET", "/v1/jobs")).json()["items"] == []


async def test_an_offered_technician_sees_the_public_part(technician: Client, customer: Client, book: Book) -> None:
    """A technician with an offer sees neither the customer nor the address, and the position only to 100 m. After the
    claim they see all.
    """
    job = await book(customer, lat=52.52123, lon=13.40567, address="Torstrasse 1", metadata={"floor": 3}, **NOTES)
    await wait_for_offer(technician, job["id"])
    public_job = (await technician("GET", f"/v1/jobs/{job['id']}")).json()["job"]
    assert {"customer", "address", "postal_code", "notes", "reference", "metadata"}.isdisjoint(public_job)
    assert public_job["public_notes"] == NOTES["public_notes"]
    assert (public_job["lat"], public_job["lon"]) == (52.521, 13.406)
    assert set(public_job["actions"]) == {"claim", "decline"}
    claimed_job = (await technician("POST", f"/v1/jobs/{job['id']}/claim")).json()["job"]
    assert (claimed_job["address"], claimed_job["customer"]["phone"]) == ("Torstrasse 1", "+49 30 1")
    assert claimed_job["notes"] == NOTES["notes"]


# Commands


async def test_refusals_by_role_and_command(customer: Client, technician: Client, book: Book) -> None:
    """A customer's `claim` is refused with 403, an unknown command or a command of the engine with 404, and an unknown
    answer to an offer with `invalid`.
    """
    job = (await book(customer))["id"]
    assert code_of(await customer("POST", f"/v1/jobs/{job}/claim")) == (403, "forbidden")
    assert code_of(await customer("POST", f"/v1/jobs/{job}/fly")) == (404, "not_found")
    assert code_of(await customer("POST", f"/v1/jobs/{job}/expire")) == (404, "not_found")
    assert pointers(await technician("POST", f"/v1/jobs/{job}/respond", {"status": "maybe"})) == {"/status"}


async def test_a_claim_without_an_offer_is_refused(
    customer: Client, join: Join, admin: Client, service: str, book: Book
) -> None:
    """A claim by an approved technician who has no offer of the job is refused with 409 `not_offered`."""
    technician = await join("technician")
    await people.approve(technician, admin, service)
    job = (await book(customer))["id"]
    assert code_of(await technician("POST", f"/v1/jobs/{job}/claim")) == (409, "not_offered")


async def test_a_cancelled_job_cannot_be_claimed(customer: Client, technician: Client, book: Book) -> None:
    """A claim of a cancelled job is refused with 409 `cancelled`, the state of the job, and not with the state of the
    offer.
    """
    job = (await book(customer))["id"]
    await wait_for_offer(technician, job)
    answer = await customer("POST", f"/v1/jobs/{job}/cancel", {"reason": "changed my mind"})
    assert answer.json()["job"]["status"] == "cancelled"
    assert code_of(await technician("POST", f"/v1/jobs/{job}/claim")) == (409, "cancelled")


async def test_a_declined_offer_cannot_be_claimed(customer: Client, technician: Client, book: Book) -> None:
    """After a technician rejects an offer, their claim is refused with `not_offered`, and the job remains open."""
    job = (await book(customer))["id"]
    await wait_for_offer(technician, job)
    answer = await technician("POST", f"/v1/jobs/{job}/respond", {"status": "rejected", "reason": "too far"})
    assert answer.status_code == 200
    assert code_of(await technician("POST", f"/v1/jobs/{job}/claim")) == (409, "not_offered")
    assert (await customer("GET", f"/v1/jobs/{job}")).json()["job"]["status"] == "broadcasted"


async def test_commands_out_of_order_are_refused(customer: Client, technician: Client, book: Book) -> None:
    """A `start` before `arrive` and a `cancel` after `start` are refused with 409 `illegal_transition`."""
    job = (await book(customer))["id"]
    await wait_for_offer(technician, job)
    await technician("POST", f"/v1/jobs/{job}/claim")
    assert code_of(await technician("POST", f"/v1/jobs/{job}/start")) == (409, "illegal_transition")
    for step in ("depart", "arrive", "start"):
        assert (await technician("POST", f"/v1/jobs/{job}/{step}")).status_code == 200
    assert code_of(await customer("POST", f"/v1/jobs/{job}/cancel")) == (409, "illegal_transition")


async def test_a_command_may_require_a_version(customer: Client, technician: Client, book: Book) -> None:
    """A command with `If-Match` or `version` is refused with 412 and the current job if the job has another version. A
    malformed `If-Match` is refused with `invalid`.
    """
    job = await book(customer)
    path = f"/v1/jobs/{job['id']}"
    await wait_for_offer(technician, job["id"])
    await technician("POST", f"{path}/claim")
    answer = await customer("POST", f"{path}/cancel", None, If_Match=f'"{job["version"]}"')
    assert code_of(answer) == (412, "version_conflict")
    assert answer.json()["job"]["status"] == "accepted"
    answer = await customer("POST", f"{path}/cancel", {"version": job["version"]})
    assert code_of(answer) == (412, "version_conflict")
    assert pointers(await customer("POST", f"{path}/cancel", {"version": 1}, If_Match='"2"')) == {"/version"}
    for wrong in ("seven", '"2', '2"', "W/2", '"2", "3"', '"-2"', 'w/"2"', '"٢"'):
        raw = {b"authorization": f"Bearer {customer.token}".encode(), b"if-match": wrong.encode()}
        assert pointers(await customer.http.post(f"{path}/cancel", headers=raw)) == {"/If-Match"}
    for stale in ('W/"1"', "1"):
        assert code_of(await customer("POST", f"{path}/cancel", None, If_Match=stale)) == (412, "version_conflict")
    etag = "W/" + (await customer("GET", path)).headers["etag"]
    assert (await customer("POST", f"{path}/cancel", None, If_Match=etag)).status_code == 200


async def test_one_of_concurrent_claims_succeeds(customer: Client, join: Join, admin: Client, service: str) -> None:
    """One of four technicians who accept at the same time gets the message "Job accepted". The others are refused with
    409 `taken` and the title "Booking already taken".
    """
    away = {"lat": -33.9, "lon": 151.2}
    racers = [await join("technician") for _ in range(4)]
    for technician in racers:
        await people.approve(technician, admin, service)
        await people.go_online(technician, **away)
    job = (await people.book(customer, service, **away))["id"]
    await asyncio.gather(*(wait_for_offer(technician, job) for technician in racers))
    path, body = f"/v1/jobs/{job}/respond", {"status": "accepted"}
    answers = await asyncio.gather(*(technician("POST", path, body) for technician in racers))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    success = next(answer for answer in answers if answer.is_success)
    assert success.json()["message"] == "Job accepted"
    for lost in (answer for answer in answers if not answer.is_success):
        assert code_of(lost) == (409, "taken")
        assert lost.json()["title"] == "Booking already taken"


async def test_a_job_from_booking_to_completion(
    customer: Client, technician: Client, staff: dict[Role, Client], book: Book
) -> None:
    """A job runs from booking to `completed`. Its history, its waves and the customer's notifications can be read."""
    job = (await book(customer))["id"]
    await wait_for_offer(technician, job)
    path = f"/v1/jobs/{job}"
    for step in ("claim", "depart", "arrive", "start", "complete"):
        assert (await technician("POST", f"{path}/{step}")).status_code == 200, step
    assert (await customer("GET", path)).json()["job"]["status"] == "completed"
    items = (await customer("GET", f"{path}/history")).json()["items"]
    assert [item["command"] for item in items if item["command"]][-4:] == ["depart", "arrive", "start", "complete"]
    waves = (await staff["ops_manager"]("GET", f"{path}/waves")).json()["items"]
    assert waves
    page = (await customer("GET", "/v1/jobs?phase=done")).json()
    assert [item["id"] for item in page["items"]] == [job]
    assert page["as_of"]["main"]["seq"] >= items[-1]["seq"]

    async def notification_count() -> int:
        return len((await customer("GET", "/v1/notifications")).json()["items"])

    await wait_until(notification_count, what="a notification")
    first = (await customer("GET", "/v1/notifications")).json()["items"][0]
    assert (await customer("POST", f"/v1/notifications/{first['id']}/read")).status_code == 204
    assert code_of(await technician("POST", f"/v1/notifications/{first['id']}/read")) == (404, "not_found")


async def test_a_claim_over_capacity_is_refused(customer: Client, technician: Client, book: Book) -> None:
    """A technician with a capacity of one job who claims a second job is refused with 409 `at_capacity`, although the
    job was offered to them.
    """
    jobs = [(await book(customer))["id"] for _ in range(2)]
    for job in jobs:
        await wait_for_offer(technician, job)
    assert (await technician("POST", f"/v1/jobs/{jobs[0]}/claim")).status_code == 200
    assert code_of(await technician("POST", f"/v1/jobs/{jobs[1]}/claim")) == (409, "at_capacity")
    assert (await technician("GET", "/v1/me")).json()["fix"] == {"every_s": 10, "distance_m": 100}


async def test_offers_have_pages(customer: Client, technician: Client, book: Book) -> None:
    """The pages of `/v1/offers` contain each offer once, the earliest deadline first."""
    for _ in range(3):
        await wait_for_offer(technician, (await book(customer))["id"])
    offers = (await technician("GET", "/v1/offers")).json()["items"]
    first = (await technician("GET", "/v1/offers?limit=2")).json()
    second = (await technician("GET", f"/v1/offers?limit=200&cursor={first['next']}")).json()
    job_ids = [offer["job"]["id"] for offer in offers]  # another test may add an offer between the reads
    assert [o["job"]["id"] for o in first["items"] + second["items"] if o["job"]["id"] in job_ids] == job_ids
    assert [o["expires_at"] for o in offers] == sorted(o["expires_at"] for o in offers)
    assert pointers(await technician("GET", "/v1/offers?cursor=x")) == {"/cursor"}


async def test_a_job_that_nobody_claims_expires(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A job that nobody claims within its lifetime becomes `expired`, and its claim is refused with 409 `expired`."""
    data = str(tmp_path_factory.mktemp("brief"))
    brief = Settings(data=data, port=0, limits="off", lease_s=1.0, job_lifetime_s=1.0)
    async with run_server(brief) as server, open_http(server.url) as http:
        nobody, admin = Client(http), people.principal(server, http, "admin")
        service = await people.make_service(admin)
        customer, technician = await people.register(nobody, "customer"), await people.register(nobody, "technician")
        await people.approve(technician, admin, service)
        await people.go_online(technician)
        job = (await people.book(customer, service))["id"]
        await wait_for_offer(technician, job)

        async def is_expired() -> bool:
            return bool((await customer("GET", f"/v1/jobs/{job}")).json()["job"]["status"] == "expired")

        await wait_until(is_expired)
        assert code_of(await technician("POST", f"/v1/jobs/{job}/claim")) == (409, "expired")
