"""Redis is paused, emptied or restored to an older state under a running server: the server reports it, no job ends
because of it, and every technician stays online.
"""

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

import pytest
import redis

from callout_client import Refusal
from engine.blueprint import catalogue
from tests.faults.crowd import POSITION, Person, Scenario, expected_seqs, scenario_on
from tests.support import valkey
from tests.support.http import open_http
from tests.support.process import Server, run_server
from tests.support.wait import wait_until

LEASE_S, OFFER_S, JOB_S, PAUSE_S = 3, 4, 6, 8
"""Seconds instead of minutes: the pause is longer than the lease and the lifetimes of offer and job."""


@contextmanager
def paused_process(pid: int) -> Iterator[None]:
    """Stop the process (SIGSTOP) while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def write_short_offer_blueprint(folder: Path) -> Path:
    """Write a `home_service` blueprint with offers of ``OFFER_S`` seconds into ``folder``, and return the folder."""
    folder.mkdir()
    text = (catalogue.shipped_folder() / "home_service.toml").read_text()
    assert "offer_s = 60" in text
    (folder / "home_service.toml").write_text(text.replace("offer_s = 60", f"offer_s = {OFFER_S}"))
    return folder


async def read_readyz(server: Server) -> tuple[int, list[str]]:
    """Return the status and the problems of ``/readyz``."""
    async with open_http(timeout_s=5) as client:
        answer = await client.get(f"{server.url}/readyz")
    return answer.status_code, answer.json()["problems"]


async def refused_code(scenario: Scenario, who: Person, path: str, body: dict[str, Any]) -> str:
    """Return the code with which a command over HTTP is refused at the first attempt."""
    with pytest.raises(Refusal) as refused:
        await scenario.api.request("POST", path, token=await who.account.token(), body=body, patience_s=0)
    return refused.value.code


async def create_offered_job(scenario: Scenario) -> tuple[Person, Person, str]:
    """Create a customer, a technician, and a job that is offered to the technician."""
    customer, technician = await scenario.create_person("customer"), await scenario.create_technician()
    job = await scenario.book_job(customer)
    await wait_until(lambda: technician.count_types()["offer.created"], what="the offer")
    return customer, technician, job


async def test_a_pause_takes_nobody_offline_and_ends_nothing(tmp_path: Path) -> None:
    """After a pause of Redis that is longer than the lease and the lifetimes of offer and job, no technician is
    offline, no job has ended, and the claim succeeds; a job without a claim expires later.
    """
    settings = {"lease_s": str(LEASE_S), "ping_s": "0.8", "job_lifetime_s": str(JOB_S), "limits": "off"}
    flags = ("--blueprints", str(write_short_offer_blueprint(tmp_path / "own")))
    async with run_server(tmp_path / "data", *flags, **settings) as server, scenario_on(server) as scenario:
        customer, technician, job = await create_offered_job(scenario)
        other = await scenario.book_job(customer)
        await wait_until(lambda: technician.count_types()["offer.created"] == 2, what="the other offer")
        with paused_process(server.valkey.pid):
            await asyncio.sleep(PAUSE_S)  # the test is about this pause
        claimed = await technician.socket.request("claim", job=job)
        assert claimed["job"]["technician"]["id"] == technician.id
        assert (await scenario.read_job(other))["status"] == "broadcasted"
        lease_end = time.monotonic() + 2 * LEASE_S
        await wait_until(lambda: time.monotonic() > lease_end, within_s=4 * LEASE_S)
        status = (await scenario.admin.request("GET", f"/v1/technicians/{technician.id}"))["technician"]
        assert status["online"] is True
        with redis.Redis.from_url(server.redis_url, decode_responses=True) as client:
            assert "technician.status" not in _event_types_after(client, "job.accepted")
        await wait_until(lambda: customer.count_types()["job.expired"], within_s=30, what="the end of the other job")
        for person in (customer, technician):
            await wait_until(lambda p=person: set(expected_seqs(server, p)) <= set(p.events))  # type: ignore[misc]
            assert (person.repeats, person.unrecovered_zones) == ([], [])


def _event_types_after(client: redis.Redis, event_type: str) -> list[str]:
    types = [fields["type"] for _, fields in client.xrange("{main}:log")]  # type: ignore[union-attr]
    return types[types.index(event_type) :]


async def test_while_redis_is_paused_the_server_reports_it(tmp_path: Path) -> None:
    """While Redis is paused a command returns `unavailable` or `indeterminate` within 8 s and ``/readyz`` returns 503;
    afterwards the server recovers by itself.
    """
    async with run_server(tmp_path / "data", limits="off") as server, scenario_on(server) as scenario:
        _, technician, job = await create_offered_job(scenario)
        with paused_process(server.valkey.pid):
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
    return (await read_readyz(server))[0] == 503


async def _is_ready(server: Server) -> bool:
    return (await read_readyz(server))[0] == 200


async def test_an_emptied_redis_is_written_anew_by_itself(tmp_path: Path) -> None:
    """FLUSHALL under a running server: within seconds the zone is rebuilt from SQL. Clients get 4004 and resume
    with their cursors, and book and claim again.
    """
    async with run_server(tmp_path / "data", limits="off") as server, scenario_on(server) as scenario:
        customer, technician, _ = await create_offered_job(scenario)
        await wait_until(lambda: _is_archived(server.redis_url), what="the archive")
        with redis.Redis.from_url(server.redis_url) as client:
            before = client.hmget("{main}:meta", "epoch", "seq")
            client.flushall()
            await wait_until(
                lambda: client.hget("{main}:meta", "epoch") not in (None, b"closed"), within_s=8, what="a new epoch"
            )
            epoch, seq = client.hmget("{main}:meta", "epoch", "seq")  # type: ignore[misc]
        assert epoch != before[0] and int(seq) >= int(before[1])  # type: ignore[index,arg-type]
        await wait_until(lambda: _is_ready(server), within_s=8, what="readyz true")
        await technician.socket.request("location", **POSITION)  # their app sends one at the latest after 30 s
        job = await scenario.book_job(customer)
        await wait_until(lambda: technician.count_types()["offer.created"] == 2, what="the offer of the new job")
        claimed = await technician.socket.request("claim", job=job)
        assert claimed["job"]["technician"]["id"] == technician.id
        assert technician.unrecovered_zones == []


async def test_an_older_file_under_a_running_server_is_mended(tmp_path: Path) -> None:
    """If Redis restarts with an older file that lacks an archived claim, the server writes what is missing from SQL:
    the holder is the same, and nobody can claim the job a second time.
    """
    home = tmp_path / "redis"
    home.mkdir()
    process, url = valkey.start_server(home)
    try:
        async with (
            run_server(tmp_path / "data", "--redis", url, limits="off") as server,
            scenario_on(server) as scenario,
        ):
            _, technician, job = await create_offered_job(scenario)
            shutil.copytree(home / "appendonlydir", tmp_path / "older")
            claimed = await technician.socket.request("claim", job=job)
            await wait_until(lambda: _is_archived(url), what="the archive")
            process.kill()
            process.wait()
            shutil.rmtree(home / "appendonlydir")
            shutil.copytree(tmp_path / "older", home / "appendonlydir")
            process, _ = valkey.start_server(home, port=urlsplit(url).port)
            await wait_until(lambda: _is_ready(server), within_s=15, what="readyz true")
            found = await scenario.read_job(job)
            assert (found["technician"]["id"], found["version"]) == (technician.id, claimed["job"]["version"])
            other = await scenario.create_technician()
            assert await refused_code(scenario, other, f"/v1/jobs/{job}/claim", {}) == "taken"
    finally:
        process.kill()
        process.wait()


def _is_archived(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        seq, archived = client.hmget("{main}:meta", "seq", "archived")  # type: ignore[misc]
    return bool(seq == archived)
