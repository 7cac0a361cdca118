"""One user whose requests and sockets reach both workers: rate limits, revoked access and cursors hold for the whole
server."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from time import monotonic
from typing import Any

import httpx
import pytest

from engine.identity.limits import LIMITS
from tests.server.supervisor.processes import admin_token, connections_of, running_children
from tests.support.http import open_http
from tests.support.process import Server
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

PLACE = {"address": "1 Main St", "lat": 40.75, "lon": -73.99}
MAX_SOCKETS = 5


class User:
    """A registered customer. Each request has a connection of its own, which either worker accepts."""

    def __init__(self, url: str, bearer: str, user_id: str = "") -> None:
        self.url, self.bearer, self.id = url, bearer, user_id

    async def request(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        """Send one request on a new connection."""
        headers = {"Authorization": f"Bearer {self.bearer}"}
        async with open_http(self.url) as client:
            return await client.request(method, path, json=body, params=query, headers=headers)


@pytest.fixture
async def carla(wide_server: Server) -> User:
    """Register a customer."""
    account = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse battery", "name": "Carla"}
    async with open_http(wide_server.url) as client:
        reply = await client.post("/v1/auth/register", json={**account, "role": "customer", "phone": "+1 555 0100"})
    assert reply.status_code == 201, reply.text
    return User(wide_server.url, reply.json()["access_token"], reply.json()["user"]["id"])


@pytest.fixture
async def admin(wide_server: Server) -> User:
    """Return an admin."""
    return User(wide_server.url, await admin_token(wide_server))


async def test_sockets_are_limited_and_closed_at_all_workers(wide_server: Server, carla: User, admin: User) -> None:
    """Of nine sockets at both workers, five stay. When the user is suspended, these five are closed too."""
    pids = running_children(wide_server)
    before = Counter({name: connections_of(pid, wide_server.url) for name, pid in pids.items()})
    ws_url = wide_server.url.replace("http", "ws") + "/v1/ws"
    sockets = [SocketClient(ws_url, carla.bearer) for _ in range(MAX_SOCKETS + 4)]
    for socket in sockets:
        assert "ok" in await socket.connect()
    after = Counter({name: connections_of(pid, wide_server.url) for name, pid in pids.items()})
    assert all((after - before)[name] > 0 for name in ("gateway 1", "gateway 2")), after - before

    def closed() -> Counter[int]:
        return Counter(code for socket in sockets if (code := socket.close_code) is not None)

    await wait_until(lambda: closed() == {4010: 4}, what="the limit")
    assert (await admin.request("POST", f"/v1/users/{carla.id}/suspend", {"reason": "x"})).status_code == 200
    await wait_until(lambda: closed() == {4010: 4, 4502: MAX_SOCKETS}, what="the revocation")
    for socket in sockets:
        await socket.close()


async def test_requests_are_limited_over_all_workers(carla: User) -> None:
    """Two workers together accept as many requests of a burst as one worker would: Redis counts the requests."""
    limit, began = LIMITS["requests"], monotonic()
    codes = Counter(
        reply.status_code
        for reply in await asyncio.gather(*(carla.request("GET", "/v1/me") for _ in range(3 * limit.count)))
    )
    refilled = (monotonic() - began) * limit.count / limit.period_s
    assert codes[200] + codes[429] == 3 * limit.count
    assert limit.count <= codes[200] <= limit.count + refilled + 1


async def test_a_cursor_of_one_worker_is_good_at_the_other(carla: User, admin: User) -> None:
    """Each poll uses a new connection, which either worker may accept. Together they return each event once and in
    order."""
    service = {"name": "Plumbing", "category": "home", "base_amount": 5000, "currency": "USD", "pricing": "flat"}
    created = (await admin.request("POST", "/v1/services", service)).json()["service"]["id"]
    at = (await carla.request("GET", "/v1/sync")).json()["cursor"]["main"]
    cursor, seqs, jobs = f"main:{at['epoch']}:{at['seq']}", [], []
    for _ in range(6):
        booked = await carla.request("POST", "/v1/jobs", {"service": created, **PLACE})
        jobs.append(booked.json()["job"]["id"])
        polled = (await carla.request("GET", "/v1/events", after=cursor, wait=5)).json()
        assert polled["recovered"], polled
        cursor = polled["cursor"]
        seqs += [(event["seq"], event["event"], event["data"]["job"]["id"]) for event in polled["events"]]
    assert seqs == sorted(seqs) and len(seqs) == len(set(seqs))
    assert [job for _, event, job in seqs if event == "job.created"] == jobs
