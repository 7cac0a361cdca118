"""A whole server on a free port, shared by these tests: each makes the people it needs, and none resets it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest

from engine.process.settings import Settings
from engine.types import ROLES, Role
from server.serve import Running, running
from tests.server.http import people
from tests.server.http.client import ORIGIN, Client


@pytest.fixture(scope="package")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """The server, with limits off and one web origin."""
    data = str(tmp_path_factory.mktemp("site"))
    async with running(Settings(data=data, port=0, limits="off", origins=(ORIGIN,))) as server:
        yield server


@pytest.fixture(scope="package")
async def http(site: Running) -> AsyncIterator[httpx.AsyncClient]:
    """Connections to the server."""
    async with httpx.AsyncClient(base_url=site.url, timeout=10, trust_env=False) as client:
        yield client


@pytest.fixture(scope="package")
async def nobody(http: httpx.AsyncClient) -> Client:
    """Requests without a token."""
    return Client(http)


@pytest.fixture(scope="package")
async def staff(site: Running, http: httpx.AsyncClient) -> dict[Role, Client]:
    """One principal of each role, as `callout token` makes them: active without an account."""
    return {role: people.principal(site, http, role) for role in ROLES}


@pytest.fixture(scope="package")
async def admin(staff: dict[Role, Client]) -> Client:
    """The admin that a deployment begins with."""
    return staff["admin"]


Join = Callable[[str], Awaitable[Client]]


@pytest.fixture(scope="package")
async def join(nobody: Client) -> Join:
    """Registers a fresh customer or technician."""
    return partial(people.register, nobody)


@pytest.fixture(scope="package")
async def service(admin: Client) -> str:
    """A service on offer."""
    return await people.make_service(admin)


@pytest.fixture
async def at_work(join: Join, admin: Client, service: str) -> AsyncIterator[Client]:
    """A fresh technician who is approved and online; afterwards he goes home, so that the jobs of the next test are
    offered to its own.
    """
    technician = await join("technician")
    await people.approve(technician, admin, service)
    await people.go_online(technician)
    yield technician
    await technician("PUT", f"/v1/technicians/{technician.user}/availability", {"online": False})


@pytest.fixture
async def customer(join: Join) -> Client:
    """A fresh customer."""
    return await join("customer")


Book = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="package")
async def book(service: str) -> Book:
    """Books a job near `HERE` for the given client."""
    return partial(people.book, service=service)
