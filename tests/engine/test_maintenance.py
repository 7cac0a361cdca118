"""Maintenance tasks: each repairs what it finds, and none stops the others."""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import Unavailable
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import sql
from engine.types import DEFAULT_ZONE, TechnicianId
from engine.workers import maintenance
from tests.engine import staff
from tests.support.wait import wait_until


@pytest.mark.parametrize("failure", [Unavailable("away"), RuntimeError("a bug")])
async def test_a_task_that_fails_stops_no_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """Its failure is logged and it runs again the next time."""

    async def fail(_engine: Engine) -> int:
        raise failure

    monkeypatch.setattr(sql, "repair_redis", fail)
    assert await maintenance.run_once(engine) == {"profiles": -1, "blocks": 0, "verdicts": 0, "sessions": 0}


async def test_it_runs_by_itself(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that Redis lost is restored without a request."""
    monkeypatch.setattr(maintenance, "INTERVAL_S", 0.01)
    who = await staff.registered(engine)
    record = keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
    task = asyncio.create_task(maintenance.run(engine))
    for _ in range(2):
        await engine.store.redis.delete(record)
        await wait_until(lambda: engine.store.redis.exists(record))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
