"""Accounts: an admin creates staff accounts, and a suspension has effect at once."""

from __future__ import annotations

import uuid
from typing import Any

from engine.types import Role
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join


def account_body(role: str) -> dict[str, Any]:
    """Return the body of a new account in ``role``."""
    return {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse", "name": "Max", "role": role}


async def test_a_suspended_customer_is_locked_out(customer: Client, admin: Client) -> None:
    """A suspended customer's next request is refused. After reinstatement they must sign in again, because the
    suspension ended every login.
    """
    assert (await customer("GET", "/v1/me")).status_code == 200
    answer = await admin("POST", f"/v1/users/{customer.user}/suspend", {"reason": "fraud", "jobs": "keep"})
    assert answer.json()["user"]["active"] is False
    assert code_of(await customer("GET", "/v1/me")) == (403, "forbidden")
    reinstated = await admin("POST", f"/v1/users/{customer.user}/reinstate")
    assert reinstated.json()["user"]["active"] is True
    assert code_of(await customer("GET", "/v1/me"))[0] == 401


async def test_a_suspension_shows_ops_no_contact_data(
    customer: Client, admin: Client, staff: dict[Role, Client]
) -> None:
    """The reply to a suspension by an ops manager has no e-mail and phone, also when it is repeated. An admin, who may
    read them anyway, receives them.
    """
    path, body, key = f"/v1/users/{customer.user}/suspend", {"reason": "fraud"}, str(uuid.uuid4())
    for _ in range(2):
        user = (await staff["ops_manager"]("POST", path, body, Idempotency_Key=key)).json()["user"]
        assert set(user) == {"id", "name", "role", "active", "created_at"} and user["active"] is False
    assert {"email", "phone"} <= set((await admin("POST", path, body)).json()["user"])


async def test_a_suspended_technician_may_not_claim(
    technician: Client, customer: Client, staff: dict[Role, Client], book: Book
) -> None:
    """A claim by a suspended technician is refused with `account_not_approved`."""
    job = await book(customer)
    ops = staff["ops_manager"]
    await ops("POST", f"/v1/users/{technician.user}/suspend", {"reason": "complaints"})
    assert code_of(await technician("POST", f"/v1/jobs/{job['id']}/claim")) == (403, "account_not_approved")


async def test_a_suspension_can_reassign_the_jobs(
    technician: Client, customer: Client, staff: dict[Role, Client], book: Book
) -> None:
    """A suspension with `jobs: reassign` takes the technician's jobs away, and they are open again before the reply. An
    unknown value of `jobs` is invalid.
    """
    job = str((await book(customer))["id"])
    await people.wait_for_offer(technician, job)
    await technician("POST", f"/v1/jobs/{job}/claim", {})
    path, body = f"/v1/users/{technician.user}/suspend", {"reason": "complaints", "jobs": "reassign"}
    assert pointers(await staff["ops_manager"]("POST", path, {**body, "jobs": "burn"})) == {"/jobs"}
    assert (await staff["ops_manager"]("POST", path, body)).json()["user"]["active"] is False
    reassigned_job = (await customer("GET", f"/v1/jobs/{job}")).json()["job"]
    assert (reassigned_job["status"], reassigned_job["technician"]) == ("broadcasted", None)


async def test_commands_on_an_unknown_account_are_not_found(admin: Client) -> None:
    """Changing, suspending or reinstating an account that does not exist is refused with 404."""
    for verb, path, body in (
        ("PATCH", "", {"active": False}),
        ("POST", "/suspend", {"reason": "x"}),
        ("POST", "/reinstate", None),
    ):
        assert code_of(await admin(verb, f"/v1/users/usr_ghost{path}", body)) == (404, "not_found")


async def test_an_admin_creates_staff_accounts(admin: Client, nobody: Client) -> None:
    """An admin creates an account in any role. The reply is 201 with a `Location`, and the new account can sign in."""
    new = account_body("mediator")
    answer = await admin("POST", "/v1/users", new)
    user = answer.json()["user"]
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/users/{user['id']}")
    login = await nobody("POST", "/v1/auth/login", {"email": new["email"], "password": new["password"]})
    assert login.json()["user"]["role"] == "mediator"


async def test_a_changed_role_needs_a_fresh_token(join: Join, admin: Client) -> None:
    """After a change of role the old token is refused with `token_expired`, not `forbidden`."""
    customer = await join("customer")
    await admin("PATCH", f"/v1/users/{customer.user}", {"role": "mediator"})
    assert code_of(await customer("GET", "/v1/me")) == (401, "token_expired")


async def test_the_user_list_is_paged(admin: Client) -> None:
    """Each page links to the next one, and the pages contain each account once."""
    created_ids = {(await admin("POST", "/v1/users", account_body("mediator"))).json()["user"]["id"] for _ in range(5)}
    listed_ids: list[str] = []
    path: str | None = "/v1/users?role=mediator&limit=2"
    while path:
        answer = await admin("GET", path)
        page = answer.json()
        listed_ids += [user["id"] for user in page["items"]]
        link = answer.headers.get("link")
        assert (link is None) == (page["next"] is None)
        path = link[1 : link.index(">")] if link else None
    assert len(listed_ids) == len(set(listed_ids))
    assert created_ids <= set(listed_ids)


async def test_an_invalid_cursor_is_refused(admin: Client) -> None:
    """A cursor that this list did not issue is refused at `/cursor`."""
    assert pointers(await admin("GET", "/v1/users?cursor=nonsense")) == {"/cursor"}
