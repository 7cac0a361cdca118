"""Signing up, in and out, and what a token is good for."""

from __future__ import annotations

import uuid

import pytest

from engine.process.signer import sign_token
from engine.types import UserId
from server.serve import Running
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Join

PASSWORD = "correct horse"


def person(**changes: object) -> dict[str, object]:
    """A registration that would pass."""
    email = f"{uuid.uuid4().hex}@example.org"
    return {"email": email, "password": PASSWORD, "name": "Ada", "role": "customer", **changes}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", "a b@c"),
        ("password", "short"),
        ("password", 12345678),
        ("name", ""),
        ("name", "a\u0000b"),
        ("role", "admin"),
        ("role", "king"),
        ("phone", "call me"),
        ("active", True),
    ],
)
async def test_a_bad_registration_is_refused(field: str, value: object, nobody: Client) -> None:
    """Each field is checked and named; staff cannot register themselves."""
    assert pointers(await nobody("POST", "/v1/auth/register", person(**{field: value}))) == {f"/{field}"}


async def test_an_email_is_taken_once(nobody: Client) -> None:
    """The same address in other letters is a duplicate."""
    new = person()
    await nobody("POST", "/v1/auth/register", new)
    again = {**new, "email": str(new["email"]).upper(), "name": "Eve"}
    assert code_of(await nobody("POST", "/v1/auth/register", again)) == (409, "duplicate")


@pytest.mark.parametrize("part", [{"password": "wrong horse"}, {"email": "nobody@example.org"}])
async def test_a_wrong_login_does_not_say_what_was_wrong(part: dict[str, str], nobody: Client) -> None:
    """A wrong password and an unknown address are refused in the same words."""
    new = person()
    await nobody("POST", "/v1/auth/register", new)
    login = {"email": new["email"], "password": PASSWORD, **part}
    answer = await nobody("POST", "/v1/auth/login", login)
    assert code_of(answer) == (401, "unauthenticated")
    assert answer.json()["detail"] == "Wrong e-mail or password"


async def test_an_expired_token_says_that_it_is(site: Running, customer: Client) -> None:
    """`token_expired` tells a client to refresh; the challenge says so too."""
    old = sign_token(site.engine.signer, UserId(customer.user), "customer", expires_s=-1)
    answer = await Client(customer.http, old)("GET", "/v1/me")
    assert code_of(answer) == (401, "token_expired")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_token_of_another_role_is_no_good(site: Running, customer: Client) -> None:
    """A token whose role the account does not have lets nobody in."""
    forged = sign_token(site.engine.signer, UserId(customer.user), "admin")
    assert code_of(await Client(customer.http, forged)("GET", "/v1/users"))[0] == 401


async def test_a_token_for_nobody_is_no_good(site: Running, nobody: Client) -> None:
    """A well-signed token for an account that does not exist is refused."""
    ghost = sign_token(site.engine.signer, UserId("usr_ghost"), "customer")
    assert code_of(await Client(nobody.http, ghost)("GET", "/v1/me")) == (401, "unauthenticated")


async def test_a_bad_token_does_not_close_a_public_route(nobody: Client) -> None:
    """Who carries a stale token can still sign in."""
    assert (await nobody("GET", "/healthz", Authorization="Bearer stale")).status_code == 200


async def test_registration_signs_in(nobody: Client) -> None:
    """A registration answers 201 with the account, tokens, and where to look."""
    new = person(phone="+49 30 1234")
    answer = await nobody("POST", "/v1/auth/register", new)
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/me")
    told = answer.json()
    assert (told["user"]["email"], told["user"]["role"], told["expires_in"]) == (new["email"], "customer", 3600)
    me = await Client(nobody.http, told["access_token"])("GET", "/v1/me")
    assert me.json()["user"] == told["user"]
    assert "technician" not in me.json()


async def test_a_technician_sees_his_profile(join: Join) -> None:
    """`/v1/me` of a technician has his profile beside his account."""
    technician = await join("technician")
    told = (await technician("GET", "/v1/me")).json()
    assert told["technician"]["id"] == technician.user
    assert told["technician"]["kyc"] == "pending"
    assert told["fix"] == {"every_s": 30}


async def test_refresh_rotates_and_logout_ends(nobody: Client) -> None:
    """A refresh token gives a successor; after logout none of the family is good."""
    new = person()
    await nobody("POST", "/v1/auth/register", new)
    login = await nobody("POST", "/v1/auth/login", {"email": new["email"], "password": PASSWORD})
    first = login.json()["refresh_token"]
    second = (await nobody("POST", "/v1/auth/refresh", {"refresh_token": first})).json()["refresh_token"]
    assert first != second
    assert (await nobody("POST", "/v1/auth/logout", {"refresh_token": second})).status_code == 204
    ended = await nobody("POST", "/v1/auth/refresh", {"refresh_token": second})
    assert code_of(ended) == (401, "unauthenticated")


@pytest.mark.parametrize(("body", "seconds"), [(None, 30), ({"for": "socket"}, 30), ({"for": "events"}, 900)])
async def test_tickets(body: object, seconds: int, customer: Client) -> None:
    """A ticket is short-lived; which it is depends on what it is for."""
    told = (await customer("POST", "/v1/auth/tickets", body)).json()
    assert told["expires_in"] == seconds
    assert len(told["ticket"]) >= 32


async def test_a_ticket_is_for_something_known(customer: Client) -> None:
    """Another purpose is refused."""
    assert pointers(await customer("POST", "/v1/auth/tickets", {"for": "fun"})) == {"/for"}
