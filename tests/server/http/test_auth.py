"""Tests of registration, login, logout, and which requests each token allows."""

from __future__ import annotations

import uuid

import pytest

from engine.process.signer import sign_token
from engine.types import UserId
from server.serve import RunningServer
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Join

PASSWORD = "correct horse"


def registration_body(**changes: object) -> dict[str, object]:
    """Return a valid registration body with a new e-mail address, changed by ``changes``."""
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
    """A registration with an invalid field is refused, and the refusal names the field. A staff role is invalid too."""
    assert pointers(await nobody("POST", "/v1/auth/register", registration_body(**{field: value}))) == {f"/{field}"}


async def test_an_email_registers_once(nobody: Client) -> None:
    """A second registration with the same e-mail address in capitals is refused with 409 `duplicate`."""
    new = registration_body()
    await nobody("POST", "/v1/auth/register", new)
    again = {**new, "email": str(new["email"]).upper(), "name": "Eve"}
    assert code_of(await nobody("POST", "/v1/auth/register", again)) == (409, "duplicate")


@pytest.mark.parametrize("part", [{"password": "wrong horse"}, {"email": "nobody@example.org"}])
async def test_a_wrong_login_does_not_show_what_was_wrong(part: dict[str, str], nobody: Client) -> None:
    """A login with a wrong password and one with an unknown e-mail address are refused with the same code and text."""
    new = registration_body()
    await nobody("POST", "/v1/auth/register", new)
    login = {"email": new["email"], "password": PASSWORD, **part}
    answer = await nobody("POST", "/v1/auth/login", login)
    assert code_of(answer) == (401, "unauthenticated")
    assert answer.json()["detail"] == "Wrong e-mail or password"


async def test_an_expired_token_has_its_own_code(site: RunningServer, customer: Client) -> None:
    """An expired token is refused with `token_expired`, so that a client knows that it must refresh. `WWW-Authenticate`
    contains `invalid_token`.
    """
    old = sign_token(site.engine.signer, UserId(customer.user), "customer", expires_s=-1)
    answer = await Client(customer.http, old)("GET", "/v1/me")
    assert code_of(answer) == (401, "token_expired")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_token_of_another_role_is_refused(site: RunningServer, customer: Client) -> None:
    """A token with a role that the account does not have is refused with 401."""
    forged = sign_token(site.engine.signer, UserId(customer.user), "admin")
    assert code_of(await Client(customer.http, forged)("GET", "/v1/users"))[0] == 401


async def test_a_token_of_an_unknown_account_is_refused(site: RunningServer, nobody: Client) -> None:
    """A correctly signed token of an account that does not exist is refused with 401 `unauthenticated`."""
    ghost = sign_token(site.engine.signer, UserId("usr_ghost"), "customer")
    assert code_of(await Client(nobody.http, ghost)("GET", "/v1/me")) == (401, "unauthenticated")


async def test_a_public_route_ignores_an_invalid_token(nobody: Client) -> None:
    """A public route serves a request with an invalid token, so that a client with an old token can log in."""
    assert (await nobody("GET", "/healthz", Authorization="Bearer stale")).status_code == 200


async def test_registration_returns_a_valid_token(nobody: Client) -> None:
    """A registration returns 201 with the account, an access token that is valid at once, and `/v1/me` as Location."""
    new = registration_body(phone="+49 30 1234")
    answer = await nobody("POST", "/v1/auth/register", new)
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/me")
    reply = answer.json()
    assert (reply["user"]["email"], reply["user"]["role"], reply["expires_in"]) == (new["email"], "customer", 3600)
    me = await Client(nobody.http, reply["access_token"])("GET", "/v1/me")
    assert me.json()["user"] == reply["user"]
    assert "technician" not in me.json()


async def test_a_technician_reads_their_profile(join: Join) -> None:
    """`/v1/me` of a technician contains the profile and `fix.every_s`, the seconds between two fixes."""
    technician = await join("technician")
    me = (await technician("GET", "/v1/me")).json()
    assert me["technician"]["id"] == technician.user
    assert me["technician"]["kyc"] == "pending"
    assert me["fix"] == {"every_s": 30, "distance_m": 250}


async def test_refresh_returns_another_token_and_logout_revokes_it(nobody: Client) -> None:
    """A refresh returns another refresh token. After a logout with the new token, the new token is refused with 401."""
    new = registration_body()
    await nobody("POST", "/v1/auth/register", new)
    login = await nobody("POST", "/v1/auth/login", {"email": new["email"], "password": PASSWORD})
    first = login.json()["refresh_token"]
    second = (await nobody("POST", "/v1/auth/refresh", {"refresh_token": first})).json()["refresh_token"]
    assert first != second
    assert (await nobody("POST", "/v1/auth/logout", {"refresh_token": second})).status_code == 204
    answer = await nobody("POST", "/v1/auth/refresh", {"refresh_token": second})
    assert code_of(answer) == (401, "unauthenticated")


@pytest.mark.parametrize(("body", "seconds"), [(None, 30), ({"for": "socket"}, 30), ({"for": "events"}, 900)])
async def test_the_purpose_of_a_ticket_sets_its_lifetime(body: object, seconds: int, customer: Client) -> None:
    """A ticket for a socket is valid for 30 s, and a ticket for an event stream for 900 s. The default purpose is a
    socket.
    """
    reply = (await customer("POST", "/v1/auth/tickets", body)).json()
    assert reply["expires_in"] == seconds
    assert len(reply["ticket"]) >= 32


async def test_an_unknown_purpose_of_a_ticket_is_refused(customer: Client) -> None:
    """A ticket with an unknown `for` is refused, and the refusal names `/for`."""
    assert pointers(await customer("POST", "/v1/auth/tickets", {"for": "fun"})) == {"/for"}
