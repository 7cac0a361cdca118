"""People for the story tests: they use Callout as an app does, only by HTTP and WebSocket."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from engine.process.signer import sign_token
from engine.types import UserId
from server.serve import Running
from tests.support.socket_client import SocketClient

PASSWORD = "correct horse battery"


class Person:
    """A user with an account, an HTTP client and a WebSocket client."""

    def __init__(self, http: httpx.AsyncClient, ws_url: str, bearer: str, user: dict[str, Any]) -> None:
        self.http, self.bearer, self.user = http, bearer, user
        self.id: str = user["id"]
        self.socket = SocketClient(ws_url, bearer)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send one request as this person."""
        return await self.http.request(
            method, path, json=body, headers={"Authorization": f"Bearer {self.bearer}", **headers}
        )

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send one POST as this person."""
        return await self.call("POST", path, {} if body is None else body, **headers)

    async def get(self, path: str) -> Any:
        """Return the decoded body of a GET."""
        return (await self.call("GET", path)).json()


class Town:
    """A server with an admin, and functions that create people and services on it."""

    def __init__(self, server: Running, http: httpx.AsyncClient) -> None:
        self.server, self.http = server, http
        bearer = sign_token(server.engine.signer, UserId("cli_admin"), "admin")
        self.admin = Person(http, server.ws_url, bearer, {"id": "cli_admin"})
        self.people: list[Person] = [self.admin]

    async def person(self, role: str, name: str, *, phone: str = "+1 555 0100") -> Person:
        """Register a person. The admin creates staff."""
        account = {"email": f"{uuid.uuid4().hex}@example.org", "password": PASSWORD, "name": name, "role": role}
        if role in ("customer", "technician"):
            reply = await self.http.post("/v1/auth/register", json={**account, "phone": phone})
        else:
            await self.admin.post("/v1/users", account)
            reply = await self.http.post("/v1/auth/login", json={"email": account["email"], "password": PASSWORD})
        assert reply.status_code in (200, 201), reply.text
        made = Person(self.http, self.server.ws_url, reply.json()["access_token"], reply.json()["user"])
        self.people.append(made)
        return made

    async def service(self, name: str = "Plumbing") -> str:
        """Create a service that customers can book."""
        new = {"name": name, "category": "home", "base_amount": 5000, "currency": "USD", "pricing": "flat"}
        made = await self.admin.post("/v1/services", new)
        assert made.status_code == 201, made.text
        service: str = made.json()["service"]["id"]
        return service

    async def technician(
        self,
        name: str,
        service: str,
        *,
        approved: bool = True,
        lat: float | None = 40.75,
        lon: float = -73.99,
        phone: str = "+1 555 0100",
    ) -> Person:
        """Create a technician for the service: reviewed, connected and online unless the arguments say otherwise."""
        made = await self.person("technician", name, phone=phone)
        profile = await made.call("PATCH", f"/v1/technicians/{made.id}", {"services": [service]})
        assert profile.status_code == 200, profile.text
        if approved:
            review = {"kyc": "approved", "account": "approved"}
            assert (await self.admin.post(f"/v1/technicians/{made.id}/review", review)).status_code == 200
        await made.socket.open()
        if approved and lat is not None:
            availability = {"online": True, "lat": lat, "lon": lon}
            reply = await made.call("PUT", f"/v1/technicians/{made.id}/availability", availability)
            assert reply.status_code == 200 and reply.json()["receiving"], reply.text
        return made


@pytest.fixture
async def town(server: Running) -> AsyncIterator[Town]:
    """A town on a whole server."""
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:
        built = Town(server, http)
        yield built
        for person in built.people:
            await person.socket.close()
