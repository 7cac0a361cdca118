"""Tests of the list of the caller's own logins, and of ending one of them."""

from __future__ import annotations

import uuid

import pytest

from engine.types import Role
from tests.server.http.client import Client, code_of
from tests.server.http.conftest import Join

PASSWORD = "correct horse"


async def _log_in_twice(nobody: Client, **headers: str) -> tuple[Client, Client, str]:
    """Register a customer and log them in again. Return the client of each login and the second login's refresh token.
    ``headers`` are the headers of the registration.
    """
    email = f"{uuid.uuid4().hex}@example.org"
    new = {"email": email, "password": PASSWORD, "name": "Ada", "role": "customer"}
    first = (await nobody("POST", "/v1/auth/register", new, **headers)).json()
    again = (await nobody("POST", "/v1/auth/login", {"email": email, "password": PASSWORD})).json()
    user, http = first["user"]["id"], nobody.http
    return Client(http, first["access_token"], user), Client(http, again["access_token"], user), again["refresh_token"]


async def test_only_own_logins_can_be_ended(nobody: Client, customer: Client, staff: dict[Role, Client]) -> None:
    """A login of somebody else, an ended login and an unknown login are refused with 404, also for an admin, and no
    login is ended.
    """
    phone, laptop, _ = await _log_in_twice(nobody)
    items = (await phone("GET", "/v1/me/sessions")).json()["items"]
    for caller in (customer, staff["admin"]):
        for login in (*(item["id"] for item in items), "ses_none"):
            assert code_of(await caller("DELETE", f"/v1/me/sessions/{login}")) == (404, "not_found")
    assert (await laptop("GET", "/v1/me/sessions")).json()["next"] is None
    other = next(item["id"] for item in items if not item["current"])
    assert (await phone("DELETE", f"/v1/me/sessions/{other}")).status_code == 204
    assert code_of(await phone("DELETE", f"/v1/me/sessions/{other}")) == (404, "not_found")
    assert (await nobody("GET", "/v1/me/sessions")).status_code == 401
    assert (await staff["admin"]("GET", "/v1/me/sessions")).json() == {"items": [], "next": None}


@pytest.mark.parametrize(("agent", "device"), [("Fieldwork/3.1 (Pixel)", "Fieldwork/3.1 (Pixel)"), ("", None)])
async def test_logins_are_listed_latest_first(nobody: Client, agent: str, device: str | None) -> None:
    """Logins are listed latest first, and the login that sent the request has `current`. `device` is the `User-Agent`
    of the login. The pages contain each login once.
    """
    phone, laptop, _ = await _log_in_twice(nobody, User_Agent=agent)
    latest, first = (await laptop("GET", "/v1/me/sessions")).json()["items"]
    assert (latest["current"], first["current"], first["device"]) == (True, False, device)
    assert first["created_at"] <= latest["created_at"] and first["created_at"] <= first["last_seen"]
    page = (await phone("GET", "/v1/me/sessions?limit=1")).json()
    rest = (await phone("GET", f"/v1/me/sessions?limit=1&cursor={page['next']}")).json()
    assert [item["current"] for item in (*page["items"], *rest["items"])] == [False, True] and rest["next"] is None


async def test_an_ended_login_is_refused_at_once(nobody: Client) -> None:
    """After a login is ended, its access token and refresh token are refused, and the list does not contain it. The
    other login remains valid, and a repeat with the key returns the first reply.
    """
    phone, laptop, refresh = await _log_in_twice(nobody)
    (login,) = [item["id"] for item in (await laptop("GET", "/v1/me/sessions")).json()["items"] if item["current"]]
    key = str(uuid.uuid4())
    for repeated in (None, "true"):
        answer = await phone("DELETE", f"/v1/me/sessions/{login}", Idempotency_Key=key)
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (204, repeated)
    assert code_of(await laptop("GET", "/v1/me")) == (401, "unauthenticated")
    refused = await nobody("POST", "/v1/auth/refresh", {"refresh_token": refresh})
    assert code_of(refused) == (401, "unauthenticated")
    assert [item["current"] for item in (await phone("GET", "/v1/me/sessions")).json()["items"]] == [True]


async def test_the_current_login_can_be_ended(join: Join) -> None:
    """If a user ends the login of the request itself, its access token is refused from then on."""
    technician = await join("technician")
    (login,) = (await technician("GET", "/v1/me/sessions")).json()["items"]
    assert (await technician("DELETE", f"/v1/me/sessions/{login['id']}")).status_code == 204
    assert code_of(await technician("GET", "/v1/me")) == (401, "unauthenticated")
