"""A whole server at level ``sql``: what clients receive is in the database at that moment."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

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
