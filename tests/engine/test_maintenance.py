"""Maintenance tasks: each runs by itself, and a task that fails does not stop the others."""

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
    """If one maintenance task raises an error, its count is -1 and the other tasks still run."""

    async def raise_failure(_engine: Engine) -> int:
        raise failure

    monkeypatch.setattr(sql, "repair_redis", raise_failure)
    others = {
        "blocks": 0,
        "idempotency_records": 0,
        "paths": 0,
        "retention": 0,
        "sessions": 0,
        "erasures": 0,
        "files": 0,
    }
    assert await maintenance.run_once(engine) == {"profiles": -1, **others}


async def test_maintenance_runs_without_a_request(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maintenance runs in the background and restores a technician's record that Redis lost, again and again."""
    monkeypatch.setattr(maintenance, "INTERVAL_S", 0.01)
    who = await staff.register_technician(engine)
    record = keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
    task = asyncio.create_task(maintenance.run(engine))
    for _ in range(2):
        await engine.store.redis.delete(record)
        await wait_until(lambda: engine.store.redis.exists(record))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
