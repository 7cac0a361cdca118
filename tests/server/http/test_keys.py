"""Tests of idempotency keys: a repeated command returns its first outcome, and nothing is done twice."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from engine.domain import jobs
from engine.errors import Indeterminate
from engine.store.pipeline import Pipeline
from engine.types import DEFAULT_ZONE
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


async def test_a_key_of_an_account_is_accepted_for_a_job(
    customer: Client, technician: Client, book: Book, admin: Client, service: str
) -> None:
    """If a technician uses one key for their profile and then for a claim, both are done once, and each repeat returns
    the first reply of its own command. docs/claims.md gives the reason.
    """
    job, key = (await book(customer))["id"], str(uuid.uuid4())
    await wait_for_offer(technician, job)
    profile, change = f"/v1/technicians/{technician.user}", {"services": [service]}
    assert (await technician("PATCH", profile, change, Idempotency_Key=key)).status_code == 200
    assert (await technician("POST", f"/v1/jobs/{job}/claim", None, Idempotency_Key=key)).status_code == 200
    for answer in (
        await technician("PATCH", profile, change, Idempotency_Key=key),
        await technician("POST", f"/v1/jobs/{job}/claim", None, Idempotency_Key=key),
    ):
        assert answer.status_code == 200 and answer.headers["idempotency-replayed"] == "true"
    wrong = await technician("PATCH", profile, {"name": "Other"}, Idempotency_Key=key)
    assert code_of(wrong) == (422, "reused_key")


async def test_a_key_that_cannot_be_checked_is_unavailable(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Redis does not answer the check of a key, a command in SQL is refused with 503 `unavailable`, which promises
    that nothing was done, and nothing was done.
    """
    submit, key = Pipeline.submit, str(uuid.uuid4())

    async def submit_without_exists(pipeline: Pipeline, *command: Any, **options: Any) -> Any:
        if command[0] == "EXISTS":
            raise Indeterminate
        return await submit(pipeline, *command, **options)

    body = {"name": "Made once", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    with monkeypatch.context() as patched:
        patched.setattr(Pipeline, "submit", submit_without_exists)
        answer = await admin("POST", "/v1/services", body, Idempotency_Key=key)
    assert code_of(answer) == (503, "unavailable")
    assert (await admin("GET", "/v1/services?q=Made once")).json()["items"] == []
    assert (await admin("POST", "/v1/services", body, Idempotency_Key=key)).status_code == 201
