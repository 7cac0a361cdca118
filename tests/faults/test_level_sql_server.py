"""A whole server at acknowledgement level ``sql``: all that clients receive is in the database at that moment."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis

from callout_client import Refusal
from tests.faults.crowd import Person, scenario_on
from tests.support.process import run_server
from tests.support.wait import wait_until


async def test_what_a_server_acknowledges_or_sends_is_in_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of a reply or a push its event is in SQL, on a server that does all its background work."""
    async with run_server(tmp_path / "data", durability="sql", limits="off") as server, scenario_on(server) as scenario:
        with contextlib.closing(sqlite3.connect(server.data / "callout.db")) as database:

            def is_archived(seq: int) -> bool:
                return bool(database.execute("SELECT 1 FROM events WHERE seq = ?", (seq,)).fetchone())

            def on_push(person: Person, frame: dict[str, Any]) -> None:
                if "seq" in frame:
                    handed_on.append(is_archived(frame["seq"]))
                record_push(person, frame)

            handed_on: list[bool] = []
            record_push = Person.on_push
            monkeypatch.setattr(Person, "on_push", on_push)
            customer, technician = (
                await scenario.create_person("customer"),
                await scenario.create_technician(capacity=3),
            )
            jobs_made = [await scenario.book_job(customer) for _ in range(3)]
            await wait_until(lambda: technician.count_types()["offer.created"] == 3, what="the offers")
            for job in jobs_made:
                assert is_archived((await technician.socket.request("claim", job=job))["seq"])
            await wait_until(lambda: customer.count_types()["job.accepted"] == 3, what="the pushes")
        assert all(handed_on)


async def test_an_emptied_redis_undoes_no_acknowledged_claim(tmp_path: Path) -> None:
    """Redis is emptied right after claims were acknowledged. The zone is rebuilt from SQL: each job has its
    holder, nobody else gets it, and further commands are acknowledged.
    """
    async with run_server(tmp_path / "data", durability="sql", limits="off") as server, scenario_on(server) as scenario:
        customer = await scenario.create_person("customer")
        winner, other = [await scenario.create_technician(capacity=9) for _ in range(2)]
        made = [await scenario.book_job(customer) for _ in range(3)]
        for person in (winner, other):
            await wait_until(lambda p=person: p.count_types()["offer.created"] == 3, what="the offers")  # type: ignore[misc]
        keys = {job: str(uuid.uuid4()) for job in made}
        await asyncio.gather(*(winner.socket.request("claim", key=keys[job], job=job) for job in made))
        with redis.Redis.from_url(server.redis_url) as client:
            client.flushall()

        async def holders() -> list[str]:
            with contextlib.suppress(Refusal):
                return [(await scenario.read_job(job))["technician"]["id"] for job in made]
            return []

        assert await wait_until(holders, within_s=30, what="the jobs in the new zone") == [winner.id] * 3
        for job in made:
            with pytest.raises(Refusal) as refused:
                await other.account.request("POST", f"/v1/jobs/{job}/claim", {})
            assert refused.value.code == "taken"
        assert await scenario.book_job(customer)
