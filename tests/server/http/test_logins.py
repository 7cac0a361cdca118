"""One's own logins: listed, and ended one by one."""

from __future__ import annotations

import uuid

import pytest

from engine.types import Role
from tests.server.http.client import Client, code_of
from tests.server.http.conftest import Join

PASSWORD = "correct horse"


async def _two_logins(nobody: Client, **first: str) -> tuple[Client, Client, str]:
    """The same person on two devices, and the refresh token of the second."""
    email = f"{uuid.uuid4().hex}@example.org"
    new = {"email": email, "password": PASSWORD, "name": "Ada", "role": "customer"}
    told = (await nobody("POST", "/v1/auth/register", new, **first)).json()
    again = (await nobody("POST", "/v1/auth/login", {"email": email, "password": PASSWORD})).json()
    user, http = told["user"]["id"], nobody.http
    return Client(http, told["access_token"], user), Client(http, again["access_token"], user), again["refresh_token"]


async def test_another_s_login_is_not_found(nobody: Client, customer: Client, staff: dict[Role, Client]) -> None:
    """Nor is one that ended or never was, to an admin as to anybody; nothing ends by it."""
    phone, laptop, _ = await _two_logins(nobody)
    items = (await phone("GET", "/v1/me/sessions")).json()["items"]
    for who in (customer, staff["admin"]):
        for login in (*(item["id"] for item in items), "ses_none"):
            assert code_of(await who("DELETE", f"/v1/me/sessions/{login}")) == (404, "not_found")
    assert (await laptop("GET", "/v1/me/sessions")).json()["next"] is None
    other = next(item["id"] for item in items if not item["current"])
    assert (await phone("DELETE", f"/v1/me/sessions/{other}")).status_code == 204
    assert code_of(await phone("DELETE", f"/v1/me/sessions/{other}")) == (404, "not_found")
    assert (await nobody("GET", "/v1/me/sessions")).status_code == 401
    assert (await staff["admin"]("GET", "/v1/me/sessions")).json() == {"items": [], "next": None}


@pytest.mark.parametrize(("agent", "device"), [("Fieldwork/3.1 (Pixel)", "Fieldwork/3.1 (Pixel)"), ("", None)])
async def test_the_latest_comes_first_and_one_is_current(nobody: Client, agent: str, device: str | None) -> None:
    """Each names its device as the client named itself; pages meet every login once."""
    phone, laptop, _ = await _two_logins(nobody, User_Agent=agent)
    latest, first = (await laptop("GET", "/v1/me/sessions")).json()["items"]
    assert (latest["current"], first["current"], first["device"]) == (True, False, device)
    assert first["created_at"] <= latest["created_at"] and first["created_at"] <= first["last_seen"]
    page = (await phone("GET", "/v1/me/sessions?limit=1")).json()
    rest = (await phone("GET", f"/v1/me/sessions?limit=1&cursor={page['next']}")).json()
    assert [item["current"] for item in (*page["items"], *rest["items"])] == [False, True] and rest["next"] is None


async def test_an_ended_login_is_over_at_once(nobody: Client) -> None:
    """Its access token and its refresh token are refused, and it is listed no more; the other goes on. Under its key
    the end is answered again.
    """
    phone, laptop, refresh = await _two_logins(nobody)
    (login,) = [item["id"] for item in (await laptop("GET", "/v1/me/sessions")).json()["items"] if item["current"]]
    key = str(uuid.uuid4())
    for repeated in (None, "true"):
        done = await phone("DELETE", f"/v1/me/sessions/{login}", Idempotency_Key=key)
        assert (done.status_code, done.headers.get("idempotency-replayed")) == (204, repeated)
    assert code_of(await laptop("GET", "/v1/me")) == (401, "unauthenticated")
    ended = await nobody("POST", "/v1/auth/refresh", {"refresh_token": refresh})
    assert code_of(ended) == (401, "unauthenticated")
    assert [item["current"] for item in (await phone("GET", "/v1/me/sessions")).json()["items"]] == [True]


async def test_the_current_one_can_be_ended(join: Join) -> None:
    """Ending the login that one came with is signing out."""
    one = await join("technician")
    (login,) = (await one("GET", "/v1/me/sessions")).json()["items"]
    assert (await one("DELETE", f"/v1/me/sessions/{login['id']}")).status_code == 204
    assert code_of(await one("GET", "/v1/me")) == (401, "unauthenticated")
