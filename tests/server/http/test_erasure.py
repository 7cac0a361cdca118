"""Erasure and export of a person's data over HTTP: who may request them, what prevents them, and what happens to the
account."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from engine.sql.schema import users
from engine.types import Role
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.server.http.test_disputes import book_directly, open_dispute

REASON_BODY = {"reason": "asked by letter"}


def erasure_of(who: Client) -> str:
    """Return the path of a user's erasure."""
    return f"/v1/users/{who.user}/erasure"


async def own_account(nobody: Client) -> tuple[Client, dict[str, str]]:
    """Register a customer, and return them with their e-mail address and password."""
    login = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse"}
    answer = (await nobody("POST", "/v1/auth/register", {**login, "name": "Una", "role": "customer"})).json()
    return Client(nobody.http, answer["access_token"], answer["user"]["id"]), login


@pytest.mark.parametrize("verb", ["erasure", "export"])
async def test_only_the_person_and_admins_may(
    join: Join, staff: dict[Role, Client], admin: Client, nobody: Client, verb: str
) -> None:
    """Other users and ops may not ask for an erasure or an export, and the person must give the right password. After a
    refusal the account is unchanged."""
    customer, body = await join("customer"), REASON_BODY if verb == "erasure" else {}
    path = f"/v1/users/{customer.user}/{verb}"
    for who in (await join("customer"), await join("technician"), staff["ops_manager"], staff["onboarding_manager"]):
        assert code_of(await who("POST", path, body)) == (403, "forbidden")
    for password in ({}, {"password": "wrong horse"}, {"password": ""}):
        assert code_of(await customer("POST", path, {**body, **password})) == (403, "forbidden")
    assert code_of(await nobody("POST", path, body)) == (401, "unauthenticated")
    assert code_of(await admin("POST", f"/v1/users/usr_ghost/{verb}", body)) == (404, "not_found")
    assert pointers(await customer("POST", path, {**body, "password": 5})) == {"/password"}
    assert (await customer("GET", "/v1/me")).json()["user"]["active"] is True


async def test_a_reason_is_needed(admin: Client, customer: Client) -> None:
    """A request for an erasure without a reason is refused with `invalid`, and no erasure exists afterwards."""
    assert pointers(await admin("POST", erasure_of(customer), {})) == {"/reason"}
    assert code_of(await admin("GET", erasure_of(customer))) == (404, "not_found")
    assert code_of(await customer("GET", erasure_of(customer))) == (404, "not_found")


async def test_a_live_job_stands_in_the_way(customer: Client, admin: Client, technician: Client, book: Book) -> None:
    """With a live job neither the customer nor their technician can be erased, and both can still act. After the end
    of the job the erasure begins.
    """
    job = (await book(customer))["id"]
    await people.wait_for_offer(technician, job)
    await technician("POST", f"/v1/jobs/{job}/claim", {})
    for who in (customer, technician):
        refused = await admin("POST", erasure_of(who), REASON_BODY)
        assert code_of(refused) == (409, "not_erasable") and refused.json()["blockers"] == ["job"]
        assert (await who("GET", "/v1/me")).status_code == 200
    await customer("POST", f"/v1/jobs/{job}/cancel", {"reason": "no time"})
    accepted = await admin("POST", erasure_of(customer), REASON_BODY)
    assert accepted.status_code == 202 and accepted.json()["erasure"]["blockers"] == []


async def test_an_open_dispute_stands_in_the_way(
    customer: Client, admin: Client, technician: Client, book: Book
) -> None:
    """While a dispute about a job is open, its parties cannot be erased."""
    job = await book_directly(customer, technician, book, "accept")
    assert (await open_dispute(customer, job)).is_success
    refused = await admin("POST", erasure_of(technician), REASON_BODY)
    assert code_of(refused) == (409, "not_erasable") and refused.json()["blockers"] == ["dispute", "job"]


async def test_a_person_closes_their_account(nobody: Client, admin: Client, site: RunningServer) -> None:
    """With their password a person has everything erased: the account is closed at once, and admins see how far it is.
    A second request returns the same erasure.
    """
    customer, login = await own_account(nobody)
    answer = await customer("POST", erasure_of(customer), {**REASON_BODY, "password": login["password"]})
    erasure: dict[str, Any] = answer.json()["erasure"]
    assert (answer.status_code, erasure["state"], erasure["blockers"]) == (202, "waiting", [])
    assert code_of(await customer("GET", "/v1/me"))[0] in (401, 403)
    assert code_of(await nobody("POST", "/v1/auth/login", login)) == (403, "forbidden")
    assert (await admin("GET", erasure_of(customer))).json()["erasure"] == erasure
    again = await admin("POST", erasure_of(customer), REASON_BODY)
    assert (again.status_code, again.json()["erasure"]) == (202, erasure)
    async with site.engine.archive.begin_read() as conn:
        query = select(users.c.active, users.c.reason).where(users.c.id == customer.user)
        assert tuple((await conn.execute(query)).one()) == (False, "to be erased")


async def test_a_repeat_with_the_same_key_is_marked(customer: Client, admin: Client) -> None:
    """A request that is repeated with its key creates one erasure and gets the first reply, marked as a repeat."""
    key = str(uuid.uuid4())
    first = await admin("POST", erasure_of(customer), REASON_BODY, Idempotency_Key=key)
    again = await admin("POST", erasure_of(customer), REASON_BODY, Idempotency_Key=key)
    assert first.json() == again.json() and "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


async def test_an_export_has_what_the_person_may_know(nobody: Client, admin: Client, site: RunningServer) -> None:
    """The lines of an export have the account and its events, and no secret. An admin gets the same without a
    password.
    """
    customer, login = await own_account(nobody)
    path = f"/v1/users/{customer.user}/export"
    answer = await customer("POST", path, {"password": login["password"]})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [msgspec.json.decode(line) for line in answer.content.splitlines()]
    [account] = [line["row"] for line in lines if line.get("table") == "users"]
    assert account["email"] == login["email"] and "password_hash" not in account
    assert [line["row"]["user"] for line in lines if line.get("table") == "sessions"] == [customer.user]
    assert b"salt" not in answer.content and b"argon2" not in answer.content
    assert (await admin("POST", path, {})).content == answer.content
