"""nginx and Caddy with the files of ``deploy/proxy`` carry a live socket, and a drain of its gateway loses nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
import uuid
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from callout_client import Callout, Listeners
from server.serve import RunningServer
from tests.deploy.proxies import PROXIES, RunningProxy, find_program
from tests.story.conftest import Scenario, run_second_gateway
from tests.support.wait import wait_until

BOOKING_COUNT = 12
PLACE = {"lat": 40.75, "lon": -73.99, "address": "1 Main St"}


class Watcher:
    """A client that is connected through the proxy, and the ids of the jobs whose events it received, in order."""

    def __init__(self, url: str, token: str) -> None:
        async def current(fresh: bool) -> str:
            return token

        self.heard: list[str] = []
        self.statuses: list[str] = []
        self.client = Callout(url, current, Listeners(self._hear, status=self.statuses.append))

    def _hear(self, push: dict[str, Any]) -> None:
        if push["type"] == "job.created":
            self.heard.append(push["data"]["job"]["id"])


def count_sockets(server: RunningServer) -> int:
    """Return the number of sessions of the server's gateway."""
    assert server.gateway
    return len(server.gateway.sessions)


def trusts(proxy: RunningProxy) -> bool:
    """Return whether the proxy answers with a certificate that the client trusts. Caddy makes one after its start."""
    try:
        context = ssl.create_default_context(cafile=str(proxy.certificate))
        with socket.create_connection(("127.0.0.1", int(proxy.url.rsplit(":", 1)[1])), timeout=5) as plain:
            context.wrap_socket(plain, server_hostname="localhost").close()
    except OSError:
        return False
    return True


async def book(http: httpx.AsyncClient, bearer: str, service: str) -> str:
    """Book a job and return its id."""
    reply = await http.post(
        "/v1/jobs",
        json={"service": service, **PLACE},
        headers={"Authorization": f"Bearer {bearer}", "Idempotency-Key": str(uuid.uuid4())},
    )
    assert reply.status_code == 201, f"{reply.status_code} {reply.text}"
    job: str = reply.json()["job"]["id"]
    return job


async def follow_stream(http: httpx.AsyncClient, bearer: str, heard: list[str]) -> None:
    """Append the id of each job whose creation the event stream announces to ``heard``."""
    headers = {"Authorization": f"Bearer {bearer}", "Accept": "text/event-stream"}
    async with http.stream("GET", "/v1/events", headers=headers, timeout=None) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data:") and (event := orjson.loads(line[5:])).get("type") == "job.created":
                heard.append(event["data"]["job"]["id"])


@pytest.mark.parametrize("name", PROXIES)
async def test_a_drain_behind_a_proxy_loses_nothing(
    name: str, server: RunningServer, scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ops receive each booking once by socket and once by event stream, through the proxy, while one of the two
    gateways drains and ends. The bookings are sent through the proxy too, and none is refused.
    """
    if not find_program(name):
        pytest.skip(f"{name} is not installed")
    service = await scenario.create_service()
    carla = await scenario.create_person("customer", "Carla")
    staff = [await scenario.create_person("ops_manager", f"Olga {number}") for number in range(4)]
    async with run_second_gateway(server) as second:
        gateways = [each.url.removeprefix("http://") for each in (server, second)]
        async with PROXIES[name](tmp_path, gateways) as proxy:  # type: ignore[attr-defined]
            await wait_until(lambda: trusts(proxy), what="the certificate")
            monkeypatch.setenv("SSL_CERT_FILE", str(proxy.certificate))
            trust = ssl.create_default_context(cafile=str(proxy.certificate))
            watchers = [Watcher(proxy.url, person.bearer) for person in staff]
            async with httpx.AsyncClient(base_url=proxy.url, verify=trust, timeout=30) as http:
                streamed: list[str] = []
                stream = asyncio.create_task(follow_stream(http, staff[0].bearer, streamed))
                for watcher in watchers:
                    await watcher.client.open()
                assert second.gateway and server.gateway
                busy, other = sorted((server, second), key=count_sockets, reverse=True)
                first = await book(http, carla.bearer, service)
                await wait_until(lambda: first in streamed, what="the event stream, which nothing buffers")

                booked = [first]
                busy.health.draining = True
                assert busy.gateway and count_sockets(busy)
                drain = asyncio.create_task(busy.gateway.drain())
                for _ in range(BOOKING_COUNT):
                    booked.append(await book(http, carla.bearer, service))
                    await asyncio.sleep(0.05)
                await drain
                await wait_until(
                    lambda: all(watcher.heard == booked for watcher in watchers),
                    what="all bookings at all watchers",
                )
                assert count_sockets(other) >= len(watchers) and not count_sockets(busy)
                stream.cancel()
                await asyncio.gather(*(watcher.client.close() for watcher in watchers))
