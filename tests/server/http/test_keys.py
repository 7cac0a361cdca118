"""Tests of idempotency keys: a repeated command returns its first outcome, and nothing is done twice."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from engine.clock import now_ms
from engine.domain import jobs
from engine.errors import Indeterminate
from engine.idempotency import in_sql
from engine.rebuild.idempotency_records import read_reserved_keys
from engine.store import keys
from engine.store.pipeline import Pipeline
from engine.types import DEFAULT_ZONE, Role, UserId
from engine.zone import log
from server.serve import RunningServer
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.server.http.people import wait_for_offer


@pytest.mark.parametrize("key", ["", "1", "not-a-uuid", "x" * 36, "{main}:log"])
async def test_a_key_is_a_uuid(key: str, customer: Client, service: str) -> None:
    """An `Idempotency-Key` that is not a UUID is refused with `invalid`, and the refusal names the header."""
    body = {"service": service, **HERE, "address": "x"}
    assert pointers(await customer("POST", "/v1/jobs", body, Idempotency_Key=key)) == {"/Idempotency-Key"}


async def test_a_key_with_other_arguments_is_refused(customer: Client, service: str) -> None:
    """A request with the key of an earlier request and other arguments is refused with 422 `reused_key`."""
    key, body = str(uuid.uuid4()), {"service": service, **HERE, "address": "x"}
    await customer("POST", "/v1/jobs", body, Idempotency_Key=key)
    answer = await customer("POST", "/v1/jobs", {**body, "address": "y"}, Idempotency_Key=key)
    assert code_of(answer) == (422, "reused_key")


async def test_a_lost_reply_names_its_key(customer: Client, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 504 contains the idempotency key with which the client can repeat the command, also if the server created the
    key.
    """
    job = (await book(customer))["id"]

    async def raise_indeterminate(*_: object, **__: object) -> None:
        raise Indeterminate

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "run_command", raise_indeterminate)
        answer = await customer("POST", f"/v1/jobs/{job}/cancel")
    assert code_of(answer) == (504, "indeterminate")
    key = answer.headers["idempotency-key"]
    assert answer.json()["key"] == key == str(uuid.UUID(key))
    assert code_of(await customer("GET", f"/v1/requests/{key}")) == (404, "not_found")


async def test_a_booking_repeated_is_one_booking(site: RunningServer, customer: Client, service: str) -> None:
    """A booking that is repeated with its key returns the same job and status, marked with `Idempotency-Replayed`, and
    emits one `job.created`.
    """
    first_seq = (await log.read_head(site.engine.store.read_connection, DEFAULT_ZONE)).seq
    key, body = str(uuid.uuid4()), {"service": service, **HERE, "address": "x"}
    first = await customer("POST", "/v1/jobs", body, Idempotency_Key=key.upper())
    again = await customer("POST", "/v1/jobs", body, Idempotency_Key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["job"] == again.json()["job"]
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"] == key
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    events = await log.read_range(site.engine.store.redis, DEFAULT_ZONE, first_seq, 100)
    channel = f"user:{customer.user}"
    assert [event.type for event in events if channel in event.to].count("job.created") == 1


async def test_a_claim_repeated_is_the_same_claim(customer: Client, technician: Client, book: Book) -> None:
    """A claim that is repeated with its key, by `claim` or by `respond`, returns the first reply. Only the technician
    may read the outcome under the key.
    """
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(technician, job)
    first = await technician("POST", f"/v1/jobs/{job}/claim", None, Idempotency_Key=key)
    again = await technician("POST", f"/v1/jobs/{job}/respond", {"status": "accepted"}, Idempotency_Key=key)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    verdict: dict[str, Any] = (await technician("GET", f"/v1/requests/{key}")).json()
    assert (verdict["status"], verdict["job"]) == ("done", job)
    assert code_of(await customer("GET", f"/v1/requests/{key}")) == (404, "not_found")


async def test_a_refusal_is_repeated(customer: Client, technician: Client, join: Join, book: Book) -> None:
    """A refused command that is repeated with its key is refused in the same way, even if the reason is gone."""
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(technician, job)
    early = await technician("POST", f"/v1/jobs/{job}/depart", None, Idempotency_Key=key)
    assert code_of(early)[0] in (404, 409)
    await technician("POST", f"/v1/jobs/{job}/claim")
    again = await technician("POST", f"/v1/jobs/{job}/depart", None, Idempotency_Key=key)
    assert code_of(again) == code_of(early)
    assert again.headers["idempotency-replayed"] == "true"


async def test_commands_in_sql_have_keys_too(admin: Client) -> None:
    """Two requests with one key to create a service create it once, and both return the same reply."""
    key = str(uuid.uuid4())
    body = {"name": "Twice", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    first = await admin("POST", "/v1/services", body, Idempotency_Key=key)
    again = await admin("POST", "/v1/services", body, Idempotency_Key=key)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("key", ["nonsense", "3f0c1b52-6f0e-4f6e-9d31-2f6a3f1c7a10"])
async def test_an_unknown_key_is_404(key: str, customer: Client) -> None:
    """`/v1/requests/{key}` returns 404 for a key that no request of the caller had."""
    assert code_of(await customer("GET", f"/v1/requests/{key}")) == (404, "not_found")


async def test_a_key_of_a_job_is_refused_for_an_account(
    site: RunningServer, customer: Client, technician: Client, admin: Client, book: Book
) -> None:
    """A command in SQL is refused with `reused_key`, and does nothing, if its key was used before for a command in
    Redis, which was done or refused.
    """
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(technician, job)
    await technician("POST", f"/v1/jobs/{job}/claim", None, Idempotency_Key=key)
    profile = f"/v1/technicians/{technician.user}"
    assert code_of(await technician("PATCH", profile, {"name": "Other"}, Idempotency_Key=key)) == (422, "reused_key")
    assert (await technician("GET", profile)).json()["technician"]["name"] != "Other"
    early = str(uuid.uuid4())
    assert (await technician("POST", f"/v1/jobs/{job}/start", None, Idempotency_Key=early)).status_code == 409
    assert code_of(await technician("PATCH", profile, {"name": "Other"}, Idempotency_Key=early)) == (422, "reused_key")
    news = {"event": "announcement.x", "roles": ["mediator"], "data": {}}
    await admin("POST", "/v1/announcements", news, Idempotency_Key=key)
    body = {"name": "Never made", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    assert code_of(await admin("POST", "/v1/services", body, Idempotency_Key=key)) == (422, "reused_key")
    assert (await admin("GET", "/v1/services?q=Never made")).json()["items"] == []


async def test_keys_are_separate_for_each_user(customer: Client, admin: Client, service: str, book: Book) -> None:
    """A key that one user has used for a job can be used by another user for a service."""
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    assert (await customer("POST", f"/v1/jobs/{job}/cancel", {}, Idempotency_Key=key)).status_code == 200
    answer = await admin("PATCH", f"/v1/services/{service}", {"name": "Boiler repair"}, Idempotency_Key=key)
    assert answer.status_code == 200


async def test_a_key_of_an_account_is_refused_for_a_job(
    site: RunningServer,
    customer: Client,
    technician: Client,
    staff: dict[Role, Client],
    book: Book,
    service: str,
) -> None:
    """A command in Redis is refused with `reused_key`, and does nothing, if its key was used before for a command in
    SQL, which was done or refused, also after a rebuild of the zone; the repeat in SQL gets its first reply.
    """
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(technician, job)
    profile, change = f"/v1/technicians/{technician.user}", {"services": [service]}
    assert (await technician("PATCH", profile, change, Idempotency_Key=key)).status_code == 200
    claim = await technician("POST", f"/v1/jobs/{job}/claim", {}, Idempotency_Key=key)
    assert code_of(claim) == (422, "reused_key")
    availability = f"{profile}/availability"
    assert code_of(await technician("PUT", availability, {"online": False}, Idempotency_Key=key)) == (422, "reused_key")
    again = await technician("PATCH", profile, change, Idempotency_Key=key)
    assert again.status_code == 200 and again.headers["idempotency-replayed"] == "true"
    assert (await technician("GET", f"/v1/requests/{key}")).json() == {"key": key, "status": "done"}
    assert (await technician("POST", f"/v1/jobs/{job}/claim", {})).status_code == 200

    payments, paid = staff["service"], str(uuid.uuid4())
    payout = {"technician": technician.user, "amount": 1, "currency": "USD", "reference": paid}
    refused = await payments("POST", "/v1/payouts", payout, Idempotency_Key=paid)
    assert code_of(refused) == (409, "insufficient_balance")
    charge = {"reference": paid, "status": "captured", "amount": 5, "currency": "USD"}
    answer = await payments("POST", f"/v1/jobs/{job}/payments", charge, Idempotency_Key=paid)
    assert code_of(answer) == (422, "reused_key")
    assert (await payments("GET", f"/v1/jobs/{job}/payments")).json()["items"] == []
    rebuilt = [page async for page in read_reserved_keys(site.engine.archive, DEFAULT_ZONE, now_ms())]
    name = keys.idempotency_record(DEFAULT_ZONE, UserId(technician.user), key)
    stored = await site.engine.store.command("GET", name)
    assert [page[name].value for page in rebuilt if name in page] == [stored.decode()]


def test_each_command_in_sql_reserves_its_key() -> None:
    """Only `in_redis.run_once`, which reserves the key in Redis, begins a command in SQL under a key."""
    sources = {path: path.read_text() for path in Path(in_sql.__file__).parent.parent.rglob("*.py")}
    assert {path.name for path, text in sources.items() if "in_sql.run_once(" in text} == {"in_redis.py"}


async def test_a_key_that_cannot_be_checked_is_unavailable(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Redis does not answer the check of a key, a command in SQL is refused with 503 `unavailable`, which promises
    that nothing was done, and nothing was done.
    """
    submit, key = Pipeline.submit, str(uuid.uuid4())

    async def submit_without_reservation(pipeline: Pipeline, *command: Any, **options: Any) -> Any:
        if any("key_reserve" in str(part) for part in command):
            raise Indeterminate
        return await submit(pipeline, *command, **options)

    body = {"name": "Made once", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    with monkeypatch.context() as patched:
        patched.setattr(Pipeline, "submit", submit_without_reservation)
        answer = await admin("POST", "/v1/services", body, Idempotency_Key=key)
    assert code_of(answer) == (503, "unavailable")
    assert (await admin("GET", "/v1/services?q=Made once")).json()["items"] == []
    assert (await admin("POST", "/v1/services", body, Idempotency_Key=key)).status_code == 201
