"""Helpers that create users, services and jobs over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

from engine.process.signer import sign_token
from engine.types import Role, UserId
from server.serve import RunningServer
from tests.server.http.client import HERE, Client
from tests.support.wait import wait_until


def principal(site: RunningServer, http: Any, role: Role) -> Client:
    """Return a client that is signed in as the user ``cli_<role>``, who has no account: its token is one that
    `callout token` issues, which is valid without an account."""
    name = f"cli_{role}"
    return Client(http, sign_token(site.engine.signer, UserId(name), role), name)


async def register(nobody: Client, role: str) -> Client:
    """Register a new customer or technician, and return their client."""
    email = f"{uuid.uuid4().hex}@example.org"
    body = {"email": email, "password": "correct horse", "name": "Ada", "role": role, "phone": "+49 30 1"}
    reply = (await nobody("POST", "/v1/auth/register", body)).json()
    return Client(nobody.http, reply["access_token"], reply["user"]["id"])


async def make_service(admin: Client) -> str:
    """Create an active service and return its id."""
    body = {"name": "Boiler repair", "category": "heating", "base_amount": 9000, "currency": "EUR"}
    return str((await admin("POST", "/v1/services", {**body, "pricing": "flat"})).json()["service"]["id"])


async def approve(technician: Client, admin: Client, service: str) -> None:
    """Add the service to a technician's profile, and let an admin approve the technician's `kyc` and `account`."""
    profile_path = f"/v1/technicians/{technician.user}"
    await technician("PATCH", profile_path, {"services": [service]})
    await admin("POST", f"{profile_path}/review", {"kyc": "approved", "account": "approved"})


async def go_online(technician: Client, **place: float) -> None:
    """Set an approved technician online at ``place`` (default: ``HERE``), and assert that they then receive offers."""
    path = f"/v1/technicians/{technician.user}/availability"
    answer = await technician("PUT", path, {"online": True, **HERE, **place})
    assert answer.json()["receiving"] is True, answer.text


async def book(customer: Client, service: str, **more: Any) -> dict[str, Any]:
    """Book a job at ``HERE``, assert that the reply is 201, and return the job."""
    body = {"service": service, **HERE, "address": "Torstrasse 1", **more}
    answer = await customer("POST", "/v1/jobs", body)
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()["job"]
    return job


async def wait_for_offer(technician: Client, job: str) -> None:
    """Wait until the technician has an open offer of the job."""

    async def has_offer() -> bool:
        items = (await technician("GET", "/v1/offers?limit=200")).json()["items"]
        return job in {offer["job"]["id"] for offer in items}

    await wait_until(has_offer, what="the offer")
