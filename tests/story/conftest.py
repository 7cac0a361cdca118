"""Users for the story tests, who use Callout only by HTTP and WebSocket, as an app does."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from engine.process.signer import sign_token
from engine.types import UserId
from server.serve import RunningServer, run_server
from tests.support.http import open_http
from tests.support.socket_client import SocketClient

PASSWORD = "correct horse battery"


class Person:
    """A user with an account, an HTTP client and a WebSocket client."""

    def __init__(self, http: httpx.AsyncClient, ws_url: str, bearer: str, user: dict[str, Any]) -> None:
        self.http, self.bearer, self.user = http, bearer, user
        self.id: str = user["id"]
        self.socket = SocketClient(ws_url, bearer)

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send one HTTP request as this user."""
        return await self.http.request(
            method, path, json=body, headers={"Authorization": f"Bearer {self.bearer}", **headers}
        )

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send one POST as this user, with ``{}`` if there is no body."""
        return await self.request("POST", path, {} if body is None else body, **headers)

    async def get(self, path: str) -> Any:
        """Send one GET as this user and return the decoded body."""
        return (await self.request("GET", path)).json()


class Scenario:
    """A server with an admin, and methods that create users and services on it."""

    def __init__(self, server: RunningServer, http: httpx.AsyncClient) -> None:
        self.server, self.http = server, http
        bearer = sign_token(server.engine.signer, UserId("cli_admin"), "admin")
        self.admin = Person(http, server.ws_url, bearer, {"id": "cli_admin"})
        self.people: list[Person] = [self.admin]

    async def create_person(self, role: str, name: str, *, phone: str = "+1 555 0100") -> Person:
        """Register a customer or a technician, or let the admin create an account for another role."""
        account = {"email": f"{uuid.uuid4().hex}@example.org", "password": PASSWORD, "name": name, "role": role}
        if role in ("customer", "technician"):
            reply = await self.http.post("/v1/auth/register", json={**account, "phone": phone})
        else:
            await self.admin.post("/v1/users", account)
            reply = await self.http.post("/v1/auth/login", json={"email": account["email"], "password": PASSWORD})
        assert reply.status_code in (200, 201), reply.text
        created = Person(self.http, self.server.ws_url, reply.json()["access_token"], reply.json()["user"])
        self.people.append(created)
        return created

    async def create_service(self, name: str = "Plumbing") -> str:
        """Create a service that customers can book, and return its id."""
        new = {"name": name, "category": "home", "base_amount": 5000, "currency": "USD", "pricing": "flat"}
        created = await self.admin.post("/v1/services", new)
        assert created.status_code == 201, created.text
        service: str = created.json()["service"]["id"]
        return service

    async def create_technician(
        self,
        name: str,
        service: str,
        *,
        approved: bool = True,
        lat: float | None = 40.75,
        lon: float = -73.99,
        phone: str = "+1 555 0100",
    ) -> Person:
        """Create a technician for the service, who is approved, connected and online unless the arguments differ."""
        created = await self.create_person("technician", name, phone=phone)
        profile = await created.request("PATCH", f"/v1/technicians/{created.id}", {"services": [service]})
        assert profile.status_code == 200, profile.text
        if approved:
            review = {"kyc": "approved", "account": "approved"}
            assert (await self.admin.post(f"/v1/technicians/{created.id}/review", review)).status_code == 200
        await created.socket.open()
        if approved and lat is not None:
            availability = {"online": True, "lat": lat, "lon": lon}
            reply = await created.request("PUT", f"/v1/technicians/{created.id}/availability", availability)
            assert reply.status_code == 200 and reply.json()["receiving"], reply.text
        return created


@pytest.fixture
async def scenario(server: RunningServer) -> AsyncIterator[Scenario]:
    """Yield a scenario on a server with all roles."""
    async with open_http(server.url) as http:
        built = Scenario(server, http)
        yield built
        for person in built.people:
            await person.socket.close()


@asynccontextmanager
async def run_second_gateway(server: RunningServer, port: int = 0) -> AsyncIterator[RunningServer]:
    """Run a gateway on the Redis and the database of ``server``."""
    settings = server.engine.settings
    other = msgspec.structs.replace(
        settings,
        data=f"{settings.data}-second",
        database=settings.database or f"sqlite:///{settings.data}/callout.db",
        key_file=f"{settings.data}/signing.key",
        files=f"{settings.data}/blobs",
        roles=("gateway",),
        port=port,
    )
    Path(other.data).mkdir(exist_ok=True)
    async with run_server(other) as running:
        yield running
