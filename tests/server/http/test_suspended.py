"""What a suspended user may do: a technician may read what they have earned, and nobody may do anything else."""

from __future__ import annotations

import uuid
from typing import Any

from engine.types import Role
from server.api.routes import ROUTES
from server.serve import RunningServer
from tests.server.http.client import Client, code_of
from tests.support import booked_money

PASSWORD = "correct horse"
NOT_APPROVED = (403, "account_not_approved")


async def register(nobody: Client, role: str) -> tuple[Client, str]:
    """Register a user. Return their client and their e-mail address."""
    email = f"{uuid.uuid4().hex}@example.org"
    body = {"email": email, "password": PASSWORD, "name": "Ada", "role": role}
    reply = (await nobody("POST", "/v1/auth/register", body)).json()
    return Client(nobody.http, reply["access_token"], reply["user"]["id"]), email


async def sign_in(nobody: Client, email: str) -> Any:
    """Return the answer to a login with the right password."""
    return await nobody("POST", "/v1/auth/login", {"email": email, "password": PASSWORD})


async def test_a_suspended_technician_reads_their_earnings(
    site: RunningServer, staff: dict[Role, Client], nobody: Client
) -> None:
    """A suspended customer and a technician who is to be erased cannot sign in. A suspended technician can, but each
    route except those of their earnings is refused. Tokens from before the suspension and a refresh are refused too.
    """
    carla, carlas_email = await register(nobody, "customer")
    old, email = await register(nobody, "technician")
    leaving, leaving_email = await register(nobody, "technician")
    other, _ = await register(nobody, "technician")
    await booked_money.book_earnings(site.engine, old.user, 700)
    for user in (carla.user, old.user, leaving.user):
        suspended = await staff["ops_manager"]("POST", f"/v1/users/{user}/suspend", {"reason": "complaints"})
        assert suspended.status_code == 200
    assert code_of(await sign_in(nobody, carlas_email)) == (403, "forbidden")
    erasure = await staff["admin"]("POST", f"/v1/users/{leaving.user}/erasure", {"reason": "asked by letter"})
    assert erasure.status_code == 202, erasure.text
    assert code_of(await sign_in(nobody, leaving_email)) == NOT_APPROVED
    earnings = f"/v1/technicians/{old.user}/earnings"
    assert code_of(await old("GET", earnings)) == NOT_APPROVED

    reply = (await sign_in(nobody, email)).json()
    assert reply["user"]["active"] is False
    tom = Client(nobody.http, reply["access_token"], old.user)
    refresh = await nobody("POST", "/v1/auth/refresh", {"refresh_token": reply["refresh_token"]})
    assert code_of(refresh) == NOT_APPROVED
    tried = 0
    for route in ROUTES:
        if route.roles and "technician" in route.roles and not route.serves_suspended:
            path = "/".join(old.user if part.startswith("{") else part for part in route.path.split("/"))
            assert code_of(await tom(route.method, path)) == NOT_APPROVED, route.path
            tried += 1
    assert tried > 60
    assert code_of(await tom("GET", f"/v1/technicians/{other.user}/earnings")) == (404, "not_found")
    (balance,) = (await tom("GET", earnings)).json()["balance"]
    assert balance["available"] == 700
    statement = await tom("GET", f"/v1/technicians/{old.user}/statements?month=1970-01")
    assert [total["closing"] for total in statement.json()["statement"]["totals"]] == [700]
    assert (await staff["admin"]("POST", f"/v1/users/{old.user}/reinstate")).status_code == 200
    assert (await tom("GET", "/v1/me")).json()["user"]["id"] == old.user
