"""Redis is paused, emptied or rolled back under a running server: the server reports it, and no person is penalised."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from callout_client import Refusal
from engine.blueprint import catalogue
from tests.faults.crowd import HERE, Person, Town, addressed, town
from tests.support import valkey
from tests.support.process import Server, run_server
from tests.support.wait import wait_until

LEASE_S, OFFER_S, JOB_S, PAUSE_S = 3, 4, 6, 8
"""Seconds instead of minutes: the pause is longer than the lease and the lifetimes of offer and job."""


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop the process (SIGSTOP) while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def quick_blueprints(folder: Path) -> Path:
    """Write a `home_service` with short offers."""
    folder.mkdir()
    text = (catalogue.shipped_folder() / "home_service.toml").read_text()
    assert "offer_s = 60" in text
    (folder / "home_service.toml").write_text(text.replace("offer_s = 60", f"offer_s = {OFFER_S}"))
    return folder


async def ready(server: Server) -> tuple[int, list[str]]:
    """Return status and problems of ``/readyz``."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        answer = await client.get(f"{server.url}/readyz")
    return answer.status_code, answer.json()["problems"]


async def refusal(place: Town, who: Person, path: str, body: dict[str, Any]) -> str:
    """Return the code with which a command over HTTP is refused at the first attempt."""
    with pytest.raises(Refusal) as refused:
        await place.api.request("POST", path, token=await who.account.token(), body=body, patience_s=0)
    return refused.value.code


async def booked(place: Town) -> tuple[Person, Person, str]:
    """Create a customer, a technician, and a job that the technician has an offer of."""
    customer, technician = await place.person("customer"), await place.technician()
    job = await place.book(customer)
    await wait_until(lambda: technician.types()["offer.created"], what="the offer")
    return customer, technician, job


async def test_a_pause_takes_nobody_offline_and_ends_nothing(tmp_path: Path) -> None:
    """After a pause that is longer than the lease and the lifetimes of offer and job, nothing has ended and the
    claim succeeds; an unanswered offer expires later, in its time.
    """
    settings = {"lease_s": str(LEASE_S), "ping_s": "0.8", "job_lifetime_s": str(JOB_S), "limits": "off"}
    flags = ("--blueprints", str(quick_blueprints(tmp_path / "own")))
    async with run_server(tmp_path / "data", *flags, **settings) as server, town(server) as place:
        customer, technician, job = await booked(place)
        other = await place.book(customer)
        await wait_until(lambda: technician.types()["offer.created"] == 2, what="the other offer")
        with stopped(server.valkey.pid):
            await asyncio.sleep(PAUSE_S)  # the pause itself is what is tested
        claimed = await technician.socket.request("claim", job=job)
        assert claimed["job"]["technician"]["id"] == technician.id
        assert (await place.job(other))["status"] == "broadcasted"
        lapse = time.monotonic() + 2 * LEASE_S
        await wait_until(lambda: time.monotonic() > lapse, within_s=4 * LEASE_S)
        status = (await place.admin.request("GET", f"/v1/technicians/{technician.id}"))["technician"]
        assert status["online"] is True
        with redis.Redis.from_url(server.redis_url, decode_responses=True) as client:
            assert "technician.status" not in _types_after(client, "job.accepted")
        await wait_until(lambda: customer.types()["job.expired"], within_s=30, what="the end of the other job")
        for person in (customer, technician):
            await wait_until(lambda p=person: set(addressed(server, p)) <= set(p.seen))  # type: ignore[misc]
            assert (person.repeats, person.lost) == ([], [])


def _types_after(client: redis.Redis, kind: str) -> list[str]:
    types = [fields["type"] for _, fields in client.xrange("{main}:log")]  # type: ignore[union-attr]
    return types[types.index(kind) :]


async def test_while_redis_is_paused_the_server_reports_it(tmp_path: Path) -> None:
    """During the pause commands return `unavailable` or `indeterminate` within seconds and ``/readyz`` is false;
    afterwards the server recovers by itself.
    """
    async with run_server(tmp_path / "data", limits="off") as server, town(server) as place:
        _, technician, job = await booked(place)
        with stopped(server.valkey.pid):
            began = time.monotonic()
            claim = {"op": "claim", "job": job, "key": "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"}
            with pytest.raises(Refusal) as refused:
                await technician.socket._send_request(claim)
            assert refused.value.code in ("unavailable", "indeterminate")
            assert time.monotonic() - began < 8
            await wait_until(lambda: _not_ready(server), within_s=8, what="readyz false")
        await wait_until(lambda: _is_ready(server), within_s=10, what="readyz true")
        again = await technician.socket.request("claim", job=job, key="7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11")
        assert again["job"]["technician"]["id"] == technician.id


async def _not_ready(server: Server) -> bool:
    return (await ready(server))[0] == 503


async def _is_ready(server: Server) -> bool:
    return (await ready(server))[0] == 200


async def test_an_emptied_redis_is_noticed_within_seconds(tmp_path: Path) -> None:
    """FLUSHALL causes no disconnect, and still the zone closes, ``/readyz`` and refusals give the reason, and a
    restart does not open the zone.
    """
    async with run_server(tmp_path / "data", limits="off") as server, town(server) as place:
        customer, technician, job = await booked(place)
        with redis.Redis.from_url(server.redis_url) as client:
            client.flushall()
        began = time.monotonic()
        await wait_until(lambda: _not_ready(server), within_s=5, what="readyz false")
        assert time.monotonic() - began < 5
        assert "zone main is closed: Redis is empty but the archive is not" in str(await ready(server))
        body = {"service": place.service, **HERE, "address": "Torstrasse 1"}
        assert await refusal(place, technician, f"/v1/jobs/{job}/claim", {}) == "unavailable"
        assert await refusal(place, customer, "/v1/jobs", body) == "unavailable"
        await server.stop()
        async with run_server(tmp_path / "data", limits="off") as second:
            assert "Redis is empty but the archive is not" in str(await ready(second))


async def test_an_older_file_under_a_running_server_is_noticed(tmp_path: Path) -> None:
    """When Redis returns with an older backup that lacks an archived claim, the zone closes, so that nobody can
    claim the job a second time.
    """
    home = tmp_path / "redis"
    home.mkdir()
    process, url = valkey.start_server(home)
    try:
        async with run_server(tmp_path / "data", "--redis", url, limits="off") as server, town(server) as place:
            customer, technician, job = await booked(place)
            shutil.copytree(home / "appendonlydir", tmp_path / "older")
            await technician.socket.request("claim", job=job)
            await wait_until(lambda: _archived(url), what="the archive")
            process.kill()
            process.wait()
            shutil.rmtree(home / "appendonlydir")
            shutil.copytree(tmp_path / "older", home / "appendonlydir")
            process, _ = valkey.start_server(home, port=urlsplit(url).port)
            await wait_until(lambda: _says(server, "Redis is behind the archive"), what="the reason in readyz")
            assert await refusal(place, technician, f"/v1/jobs/{job}/claim", {}) == "unavailable"
            assert await refusal(place, customer, f"/v1/jobs/{job}/cancel", {}) == "unavailable"
    finally:
        process.kill()
        process.wait()


def _archived(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        seq, archived = client.hmget("{main}:meta", "seq", "archived")  # type: ignore[misc]
    return bool(seq == archived)


async def _says(server: Server, why: str) -> bool:
    return why in str(await ready(server))
