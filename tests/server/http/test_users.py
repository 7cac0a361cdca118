"""Accounts: staff are made by an admin; a suspension bites at once."""

from __future__ import annotations

import uuid
from typing import Any

from engine.types import Role
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join


def account(role: str) -> dict[str, Any]:
    """A new account in ``role``."""
    return {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse", "name": "Max", "role": role}


async def test_a_suspended_customer_is_locked_out(customer: Client, admin: Client) -> None:
    """They are refused on their next request; reinstated they sign in anew, for the suspension ended every login."""
    assert (await customer("GET", "/v1/me")).status_code == 200
    answer = await admin("POST", f"/v1/users/{customer.user}/suspend", {"reason": "fraud", "jobs": "keep"})
    assert answer.json()["user"]["active"] is False
    assert code_of(await customer("GET", "/v1/me")) == (403, "forbidden")
    back = await admin("POST", f"/v1/users/{customer.user}/reinstate")
    assert back.json()["user"]["active"] is True
    assert code_of(await customer("GET", "/v1/me"))[0] == 401


async def test_ops_are_shown_no_contacts_of_whom_they_suspend(
    customer: Client, admin: Client, staff: dict[Role, Client]
) -> None:
    """An ops manager is answered with the account without e-mail and phone, also when they ask again; an admin, who may
    read them anyway, with all of it.
    """
    path, body, key = f"/v1/users/{customer.user}/suspend", {"reason": "fraud"}, str(uuid.uuid4())
    for _ in range(2):
        told = (await staff["ops_manager"]("POST", path, body, Idempotency_Key=key)).json()["user"]
        assert set(told) == {"id", "name", "role", "active", "created_at"} and told["active"] is False
    assert {"email", "phone"} <= set((await admin("POST", path, body)).json()["user"])


async def test_a_suspended_technician_may_not_claim(
    at_work: Client, customer: Client, staff: dict[Role, Client], book: Book
) -> None:
    """A suspended technician is `account_not_approved`, whatever he holds an offer of."""
    job = await book(customer)
    ops = staff["ops_manager"]
    await ops("POST", f"/v1/users/{at_work.user}/suspend", {"reason": "complaints"})
    assert code_of(await at_work("POST", f"/v1/jobs/{job['id']}/claim")) == (403, "account_not_approved")


async def test_what_he_holds_is_offered_anew(
    at_work: Client, customer: Client, staff: dict[Role, Client], book: Book
) -> None:
    """With `jobs: reassign` his job is looked for again when this answers; another word than these two is invalid."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(at_work, job)
    await at_work("POST", f"/v1/jobs/{job}/claim", {})
    path, body = f"/v1/users/{at_work.user}/suspend", {"reason": "complaints", "jobs": "reassign"}
    assert pointers(await staff["ops_manager"]("POST", path, {**body, "jobs": "burn"})) == {"/jobs"}
    assert (await staff["ops_manager"]("POST", path, body)).json()["user"]["active"] is False
    told = (await customer("GET", f"/v1/jobs/{job}")).json()["job"]
    assert (told["status"], told["technician"]) == ("broadcasted", None)


async def test_nobody_is_not_found(admin: Client) -> None:
    """Commands on an account that does not exist are 404."""
    for verb, path, body in (
        ("PATCH", "", {"active": False}),
        ("POST", "/suspend", {"reason": "x"}),
        ("POST", "/reinstate", None),
    ):
        assert code_of(await admin(verb, f"/v1/users/usr_ghost{path}", body)) == (404, "not_found")


async def test_an_admin_makes_staff(admin: Client, nobody: Client) -> None:
    """An account in any role is made with 201 and a Location, and can sign in."""
    new = account("mediator")
    answer = await admin("POST", "/v1/users", new)
    user = answer.json()["user"]
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/users/{user['id']}")
    login = await nobody("POST", "/v1/auth/login", {"email": new["email"], "password": new["password"]})
    assert login.json()["user"]["role"] == "mediator"


async def test_a_changed_role_needs_a_fresh_token(join: Join, admin: Client) -> None:
    """Who became somebody else signs in anew: his old token is expired, not forbidden."""
    customer = await join("customer")
    await admin("PATCH", f"/v1/users/{customer.user}", {"role": "mediator"})
    assert code_of(await customer("GET", "/v1/me")) == (401, "token_expired")


async def test_lists_come_in_pages(admin: Client) -> None:
    """Each page links to the next one, and following the links meets everybody once."""
    made = {(await admin("POST", "/v1/users", account("mediator"))).json()["user"]["id"] for _ in range(5)}
    seen: list[str] = []
    path: str | None = "/v1/users?role=mediator&limit=2"
    while path:
        answer = await admin("GET", path)
        told = answer.json()
        seen += [user["id"] for user in told["items"]]
        link = answer.headers.get("link")
        assert (link is None) == (told["next"] is None)
        path = link[1 : link.index(">")] if link else None
    assert len(seen) == len(set(seen))
    assert made <= set(seen)


async def test_a_cursor_of_another_list_is_refused(admin: Client) -> None:
    """What is no cursor of this list is named."""
    assert pointers(await admin("GET", "/v1/users?cursor=nonsense")) == {"/cursor"}
