"""Request keys: the first verdict is given again, and nothing is done twice."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from engine.domain import jobs
from engine.errors import Indeterminate
from engine.store.pipeline import Pipeline
from engine.types import DEFAULT_ZONE
from engine.zone import log
from server.serve import Running
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.server.http.people import wait_for_offer


@pytest.mark.parametrize("key", ["", "1", "not-a-uuid", "x" * 36, "{main}:log"])
async def test_a_key_is_a_uuid(key: str, customer: Client, service: str) -> None:
    """What is no UUID is refused and named, before anything is done."""
    body = {"service": service, **HERE, "address": "x"}
    assert pointers(await customer("POST", "/v1/jobs", body, Idempotency_Key=key)) == {"/Idempotency-Key"}


async def test_a_key_used_for_something_else(customer: Client, service: str) -> None:
    """The same key with other arguments is `reused_key`."""
    key, body = str(uuid.uuid4()), {"service": service, **HERE, "address": "x"}
    await customer("POST", "/v1/jobs", body, Idempotency_Key=key)
    answer = await customer("POST", "/v1/jobs", {**body, "address": "y"}, Idempotency_Key=key)
    assert code_of(answer) == (422, "reused_key")


async def test_a_lost_reply_names_its_key(customer: Client, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 504 names the key to repeat with, also where the server made it."""
    job = (await book(customer))["id"]

    async def lost(*_: object, **__: object) -> None:
        raise Indeterminate

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "run_command", lost)
        answer = await customer("POST", f"/v1/jobs/{job}/cancel")
    assert code_of(answer) == (504, "indeterminate")
    key = answer.headers["idempotency-key"]
    assert answer.json()["key"] == key == str(uuid.UUID(key))
    assert code_of(await customer("GET", f"/v1/requests/{key}")) == (404, "not_found")


async def test_a_booking_repeated_is_one_booking(site: Running, customer: Client, service: str) -> None:
    """The same key gives the same job and status, marked as a repeat, and one event."""
    first_seq = (await log.read_head(site.engine.store.reads, DEFAULT_ZONE)).seq
    key, body = str(uuid.uuid4()), {"service": service, **HERE, "address": "x"}
    first = await customer("POST", "/v1/jobs", body, Idempotency_Key=key.upper())
    again = await customer("POST", "/v1/jobs", body, Idempotency_Key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["job"] == again.json()["job"]
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"] == key
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    events = await log.read_range(site.engine.store.redis, DEFAULT_ZONE, first_seq, 100)
    mine = f"user:{customer.user}"
    assert [event.type for event in events if mine in event.to].count("job.created") == 1


async def test_a_claim_repeated_is_the_same_claim(customer: Client, at_work: Client, book: Book) -> None:
    """Over `claim` or `respond`, the key gives the first answer again."""
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(at_work, job)
    first = await at_work("POST", f"/v1/jobs/{job}/claim", None, Idempotency_Key=key)
    again = await at_work("POST", f"/v1/jobs/{job}/respond", {"status": "accepted"}, Idempotency_Key=key)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    verdict: dict[str, Any] = (await at_work("GET", f"/v1/requests/{key}")).json()
    assert (verdict["status"], verdict["job"]) == ("done", job)
    assert code_of(await customer("GET", f"/v1/requests/{key}")) == (404, "not_found")


async def test_a_refusal_is_remembered(customer: Client, at_work: Client, join: Join, book: Book) -> None:
    """A refusal is given again under its key, though the reason is gone by then."""
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(at_work, job)
    early = await at_work("POST", f"/v1/jobs/{job}/depart", None, Idempotency_Key=key)
    assert code_of(early)[0] in (404, 409)
    await at_work("POST", f"/v1/jobs/{job}/claim")
    again = await at_work("POST", f"/v1/jobs/{job}/depart", None, Idempotency_Key=key)
    assert code_of(again) == code_of(early)
    assert again.headers["idempotency-replayed"] == "true"


async def test_commands_in_sql_keep_their_keys_too(admin: Client) -> None:
    """A service made twice under one key is made once."""
    key = str(uuid.uuid4())
    body = {"name": "Twice", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    first = await admin("POST", "/v1/services", body, Idempotency_Key=key)
    again = await admin("POST", "/v1/services", body, Idempotency_Key=key)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("key", ["nonsense", "3f0c1b52-6f0e-4f6e-9d31-2f6a3f1c7a10"])
async def test_an_unknown_request_never_arrived(key: str, customer: Client) -> None:
    """A key under which nothing came is 404."""
    assert code_of(await customer("GET", f"/v1/requests/{key}")) == (404, "not_found")


async def test_a_key_of_a_job_is_none_of_an_account(
    site: Running, customer: Client, at_work: Client, admin: Client, book: Book
) -> None:
    """Done in Redis, or refused there a moment ago: for a command of SQL it is `reused_key`, which does nothing."""
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(at_work, job)
    await at_work("POST", f"/v1/jobs/{job}/claim", None, Idempotency_Key=key)
    mine = f"/v1/technicians/{at_work.user}"
    assert code_of(await at_work("PATCH", mine, {"name": "Other"}, Idempotency_Key=key)) == (422, "reused_key")
    assert (await at_work("GET", mine)).json()["technician"]["name"] != "Other"
    early = str(uuid.uuid4())
    assert (await at_work("POST", f"/v1/jobs/{job}/start", None, Idempotency_Key=early)).status_code == 409
    assert code_of(await at_work("PATCH", mine, {"name": "Other"}, Idempotency_Key=early)) == (422, "reused_key")
    news = {"event": "announcement.x", "roles": ["mediator"], "data": {}}
    await admin("POST", "/v1/announcements", news, Idempotency_Key=key)
    body = {"name": "Never made", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    assert code_of(await admin("POST", "/v1/services", body, Idempotency_Key=key)) == (422, "reused_key")
    assert (await admin("GET", "/v1/services?q=Never made")).json()["items"] == []


async def test_a_key_is_its_principals_own(customer: Client, admin: Client, service: str, book: Book) -> None:
    """What one has used for a job another may use for an account: they share nothing."""
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    assert (await customer("POST", f"/v1/jobs/{job}/cancel", {}, Idempotency_Key=key)).status_code == 200
    answer = await admin("PATCH", f"/v1/services/{service}", {"name": "Boiler repair"}, Idempotency_Key=key)
    assert answer.status_code == 200


async def test_a_key_of_an_account_used_for_a_job_is_not_noticed(
    customer: Client, at_work: Client, book: Book, admin: Client, service: str
) -> None:
    """Both are done, once each, and each repeat is given its own first verdict: docs/claims.md says why."""
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(at_work, job)
    mine, change = f"/v1/technicians/{at_work.user}", {"services": [service]}
    assert (await at_work("PATCH", mine, change, Idempotency_Key=key)).status_code == 200
    assert (await at_work("POST", f"/v1/jobs/{job}/claim", None, Idempotency_Key=key)).status_code == 200
    for answer in (
        await at_work("PATCH", mine, change, Idempotency_Key=key),
        await at_work("POST", f"/v1/jobs/{job}/claim", None, Idempotency_Key=key),
    ):
        assert answer.status_code == 200 and answer.headers["idempotency-replayed"] == "true"
    wrong = await at_work("PATCH", mine, {"name": "Other"}, Idempotency_Key=key)
    assert code_of(wrong) == (422, "reused_key")


async def test_where_the_key_cannot_be_looked_for_nothing_is_done(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis falls silent: a command of SQL is `unavailable`, which promises that it was not done, and it was not."""
    submit, key = Pipeline.submit, str(uuid.uuid4())

    async def silent(pipeline: Pipeline, *command: Any) -> Any:
        if command[0] == "EXISTS":
            raise Indeterminate
        return await submit(pipeline, *command)

    body = {"name": "Made once", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    with monkeypatch.context() as patched:
        patched.setattr(Pipeline, "submit", silent)
        answer = await admin("POST", "/v1/services", body, Idempotency_Key=key)
    assert code_of(answer) == (503, "unavailable")
    assert (await admin("GET", "/v1/services?q=Made once")).json()["items"] == []
    assert (await admin("POST", "/v1/services", body, Idempotency_Key=key)).status_code == 201
