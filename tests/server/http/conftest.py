"""Fixtures of the HTTP tests: one server on a free port for the whole package. Each test registers the users that it
needs, and no test resets the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.process.settings import Settings
from engine.types import ROLES, Role
from server.serve import RunningServer, run_server
from tests.server.http import people
from tests.server.http.client import ORIGIN, Client
from tests.support.http import open_http
from tests.support.postgres import unused_database, url_of
from tests.support.postgres_pool import PooledDatabase


@pytest.fixture(scope="package")
async def site(
    tmp_path_factory: pytest.TempPathFactory, postgres_socket: Path, postgres_pool: list[PooledDatabase]
) -> AsyncIterator[RunningServer]:
    """Yield a running server on PostgreSQL, with the limits off and one allowed web origin. The story tests use most
    of the same routes on SQLite.
    """
    async with unused_database(postgres_socket, postgres_pool) as name:
        settings = Settings(
            data=str(tmp_path_factory.mktemp("site")),
            database=url_of(name, postgres_socket),
            port=0,
            limits="off",
            origins=(ORIGIN,),
        )
        async with run_server(settings) as server:
            yield server


@pytest.fixture(scope="package")
async def http(site: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client that is connected to the server."""
    async with open_http(site.url, timeout_s=10) as client:
        yield client


@pytest.fixture(scope="package")
async def nobody(http: httpx.AsyncClient) -> Client:
    """Return a client that sends requests without a token."""
    return Client(http)


@pytest.fixture(scope="package")
async def staff(site: RunningServer, http: httpx.AsyncClient) -> dict[Role, Client]:
    """Return one client for each role, with a token as `callout token` issues it: valid without an account."""
    return {role: people.principal(site, http, role) for role in ROLES}


@pytest.fixture(scope="package")
async def admin(staff: dict[Role, Client]) -> Client:
    """Return the client whose token has the role `admin`."""
    return staff["admin"]


Join = Callable[[str], Awaitable[Client]]


@pytest.fixture(scope="package")
async def join(nobody: Client) -> Join:
    """Return a function that registers a new customer or technician and returns their client."""
    return partial(people.register, nobody)


@pytest.fixture
async def service(admin: Client) -> str:
    """Return the id of an active service of the test's own: the engine would offer and assign open jobs of earlier
    tests to technicians of the same service.
    """
    return await people.make_service(admin)


@pytest.fixture
async def technician(join: Join, admin: Client, service: str) -> AsyncIterator[Client]:
    """Yield the client of a new technician who is approved and online. After the test the technician is set offline, so
    that later tests' jobs are offered only to their own technicians.
    """
    technician = await join("technician")
    await people.approve(technician, admin, service)
    await people.go_online(technician)
    yield technician
    await technician("PUT", f"/v1/technicians/{technician.user}/availability", {"online": False})


@pytest.fixture
async def customer(join: Join) -> Client:
    """Return the client of a newly registered customer."""
    return await join("customer")


Book = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def book(service: str) -> Book:
    """Return a function that books a job near `HERE` as a given customer and returns the job."""
    return partial(people.book, service=service)
