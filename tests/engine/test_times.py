"""A job that is for later: when work on it may begin, what it weighs until then, and how long it is looked for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine import board, edits, jobs, scheduler
from engine.clock import now_ms
from engine.errors import NotOffered, TooEarly
from engine.events import ms_of
from engine.requests import Outcome
from engine.runtime import Engine
from engine.steps import Step
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from tests import people
from tests.clock import forward

HOUR = 3_600_000
WEEK = 7 * 24 * HOUR


def told(done: Outcome) -> dict[str, Any]:
    """The job of an answer."""
    assert done.job is not None
    found: dict[str, Any] = msgspec.json.decode(done.job)
    return found


class Booked:
    """A customer's direct booking of tom, accepted, ``ahead`` ms from now."""

    def __init__(self, engine: Engine, serves: ServiceId, carla: Principal, tom: Principal, job: JobId) -> None:
        self.engine, self.serves, self.carla, self.tom, self.job = engine, serves, carla, tom, job

    async def load(self) -> int:
        """What counts of tom's jobs now."""
        record = keys.technician(DEFAULT_ZONE, TechnicianId(UserId("tom")))
        return int(await self.engine.store.redis.hget(record, "load") or 0)

    async def take_another(self) -> None:
        """A job for now, which tom claims."""
        await jobs.claim(self.engine, self.tom, await people.offered(self.engine, self.carla, self.serves))

    async def actions(self) -> set[str]:
        """What tom may do with the booking."""
        return set(msgspec.json.decode(await board.read(self.engine, self.tom, self.job))["actions"])


async def booked(engine: Engine, ahead: int, *, accepts: bool = True, blueprint: str = "direct_booking") -> Booked:
    """See ``Booked``."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    wanted = {"blueprint": blueprint, "technician": "tom", "scheduled_for": now_ms() + ahead}
    job = people.id_of(await people.job(engine, carla, serves, **wanted))
    if accepts:
        await jobs.command(engine, tom, job, Step(command="accept"))
    return Booked(engine, serves, carla, tom, job)


async def due(engine: Engine) -> None:
    """Do all that is due."""
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass


async def test_work_does_not_begin_before_its_time(engine: Engine) -> None:
    """More than ``lead_s`` before ``scheduled_for`` the start is too early, and no action; from then on it is both."""
    one = await booked(engine, 2 * HOUR)
    with pytest.raises(TooEarly):
        await jobs.command(engine, one.tom, one.job, Step(command="start"))
    assert "start" not in await one.actions()
    await forward(engine, 3601)
    await jobs.command(engine, one.tom, one.job, Step(command="start"))


async def test_work_begins_when_its_time_is_near(engine: Engine) -> None:
    """Within ``lead_s`` of its time the start is an action, and is taken."""
    one = await booked(engine, HOUR // 2)
    assert "start" in await one.actions()
    await jobs.command(engine, one.tom, one.job, Step(command="start"))


async def test_a_job_for_later_fills_nobody_today(engine: Engine) -> None:
    """It counts towards the load from ``lead_s`` before its time on, and is accepted whatever the load is today."""
    one = await booked(engine, WEEK, accepts=False)
    await one.take_another()
    await jobs.command(engine, one.tom, one.job, Step(command="accept"))
    assert await one.load() == 1
    with pytest.raises(NotOffered):
        await one.take_another()
    await forward(engine, 7 * 24 * 3600)
    await due(engine)
    assert await one.load() == 2


@pytest.mark.parametrize("how", ["leave", "move"])
async def test_a_job_for_later_weighs_what_its_time_says(engine: Engine, how: str) -> None:
    """Given up it weighs nothing, then and later; brought forward it weighs at once, and put off again no more."""
    one = await booked(engine, WEEK, blueprint="marketplace")
    if how == "leave":
        await jobs.command(engine, one.carla, one.job, Step(command="unassign"))
    else:
        for ahead, load in ((HOUR // 2, 1), (WEEK, 0), (HOUR // 2, 1)):
            await edits.edit(engine, people.ADMIN, one.job, {"scheduled_for": now_ms() + ahead})
            assert await one.load() == load
        await jobs.command(engine, one.tom, one.job, Step(command="unassign"))
    assert await one.load() == 0
    await forward(engine, 7 * 24 * 3600)
    await due(engine)
    assert await one.load() == 0
    assert not await engine.store.redis.zscore(keys.due(DEFAULT_ZONE), f"begin:{one.job}")


@pytest.mark.parametrize(
    ("ahead_s", "lives_s"), [(3000, 3000), (600, 900), (7200, 4500)], ids=["near", "nearer than its life", "far"]
)
async def test_how_long_a_job_is_looked_for(engine: Engine, ahead_s: int, lives_s: int) -> None:
    """From its release on, and where its time is near already, at least until then."""
    serves, carla = await people.service(engine), await people.customer(engine)
    job = told(await people.job(engine, carla, serves, scheduled_for=now_ms() + ahead_s * 1000))
    lives = ms_of(job["expires_at"]) - ms_of(job["created_at"])
    assert lives / 1000 == pytest.approx(lives_s, abs=2)
