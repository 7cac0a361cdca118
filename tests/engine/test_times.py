"""A job that is for later: when work on it may begin, what it weighs until then, and how long it is looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.clock import now_ms
from engine.domain import bids, edits, job_queries, jobs, offers
from engine.domain.commands import Step
from engine.errors import NotOffered, TooEarly
from engine.events import ms_of
from engine.idempotency.in_redis import Outcome
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from engine.workers import scheduler
from tests.support import people
from tests.support.clock import advance

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
        return set(msgspec.json.decode(await job_queries.read_job(self.engine, self.tom, self.job))["actions"])


async def booked(engine: Engine, ahead: int, *, accepts: bool = True, blueprint: str = "direct_booking") -> Booked:
    """See ``Booked``."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    wanted = {"blueprint": blueprint, "technician": "tom", "scheduled_for": now_ms() + ahead}
    job = people.id_of(await people.job(engine, carla, serves, **wanted))
    if accepts:
        await jobs.run_command(engine, tom, job, Step(command="accept"))
    return Booked(engine, serves, carla, tom, job)


NOW_OR_LATER = """
name = "{name}"
version = 1
title = "Work that begins with the yes"
{named}
[states]
wanted = {{ phase = "open", seeks = "{mode}", says = "Wanted" }}
doing = {{ phase = "active", says = "Doing" }}
over = {{ phase = "done", says = "Over" }}
late = {{ phase = "closed", says = "Late" }}
[commands.finish]
by = ["holder"]
from = ["doing"]
to = "over"
event = "job.status"
[commands.expire]
by = ["engine"]
from = ["wanted"]
to = "late"
event = "job.expired"
"""
YES = {
    "direct": """
[commands.accept]
by = ["offered"]
from = ["wanted"]
to = "doing"
does = "take"
event = "job.accepted"
""",
    "bids": """
[commands.bid]
by = ["technician"]
from = ["wanted"]
does = "bid"
event = "bid.created"
[commands.award]
by = ["customer"]
from = ["wanted"]
to = "doing"
does = "award"
event = "job.accepted"
""",
}
HEARD = ["job.created", "job.updated", "job.accepted", "job.status", "job.expired"]
BIDS = ["job.searching", "bid.created", "bid.accepted", "bid.closed"]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """With two blueprints in which a yes is the beginning of the work, to who is asked by name and to who bids."""
    folder = tmp_path / "blueprints"
    folder.mkdir()
    for mode, yes in YES.items():
        named = 'technician = "required"' if mode == "direct" else ""
        told = HEARD if mode == "direct" else HEARD + BIDS
        rules = "".join(f'[events."{each}"]\nto = ["customer", "ops"]\n' for each in told)
        edit = '[edit]\nwanted = ["scheduled_for", "lat", "lon"]\n'
        text = NOW_OR_LATER.format(name=f"at_once_{mode}", mode=mode, named=named)
        (folder / f"{mode}.toml").write_text(text + yes + edit + rules)
    return msgspec.structs.replace(settings, blueprints=str(folder))


async def due(engine: Engine) -> None:
    """Do all that is due."""
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass


async def test_work_does_not_begin_before_its_time(engine: Engine) -> None:
    """More than ``lead_s`` before ``scheduled_for`` the start is too early, and no action; from then on it is both."""
    one = await booked(engine, 2 * HOUR)
    with pytest.raises(TooEarly):
        await jobs.run_command(engine, one.tom, one.job, Step(command="start"))
    assert "start" not in await one.actions()
    await advance(engine, 3601)
    await jobs.run_command(engine, one.tom, one.job, Step(command="start"))


async def test_work_begins_when_its_time_is_near(engine: Engine) -> None:
    """Within ``lead_s`` of its time the start is an action, and is taken."""
    one = await booked(engine, HOUR // 2)
    assert "start" in await one.actions()
    await jobs.run_command(engine, one.tom, one.job, Step(command="start"))


async def test_a_job_for_later_fills_nobody_today(engine: Engine) -> None:
    """It counts towards the load from ``lead_s`` before its time on, and is accepted whatever the load is today."""
    one = await booked(engine, WEEK, accepts=False)
    await one.take_another()
    await jobs.run_command(engine, one.tom, one.job, Step(command="accept"))
    assert await one.load() == 1
    with pytest.raises(NotOffered):
        await one.take_another()
    await advance(engine, 7 * 24 * 3600)
    await due(engine)
    assert await one.load() == 2


@pytest.mark.parametrize("how", ["leave", "move"])
async def test_a_job_for_later_weighs_what_its_time_says(engine: Engine, how: str) -> None:
    """Given up it weighs nothing, then and later; brought forward it weighs at once, and put off again no more."""
    one = await booked(engine, WEEK, blueprint="marketplace")
    if how == "leave":
        await jobs.run_command(engine, one.carla, one.job, Step(command="unassign"))
    else:
        for ahead, load in ((HOUR // 2, 1), (WEEK, 0), (HOUR // 2, 1)):
            await edits.edit_job(engine, people.ADMIN, one.job, {"scheduled_for": now_ms() + ahead})
            assert await one.load() == load
        await jobs.run_command(engine, one.tom, one.job, Step(command="unassign"))
    assert await one.load() == 0
    await advance(engine, 7 * 24 * 3600)
    await due(engine)
    assert await one.load() == 0
    assert not await engine.store.redis.zscore(keys.due_tasks(DEFAULT_ZONE), f"begin:{one.job}")


@pytest.mark.parametrize(
    ("ahead_s", "lives_s"), [(3000, 3000), (600, 900), (7200, 4500)], ids=["near", "nearer than its life", "far"]
)
async def test_how_long_a_job_is_looked_for(engine: Engine, ahead_s: int, lives_s: int) -> None:
    """From its release on, and where its time is near already, at least until then."""
    serves, carla = await people.service(engine), await people.customer(engine)
    job = told(await people.job(engine, carla, serves, scheduled_for=now_ms() + ahead_s * 1000))
    lives = ms_of(job["expires_at"]) - ms_of(job["created_at"])
    assert lives / 1000 == pytest.approx(lives_s, abs=2)


async def _until(engine: Engine, who: Principal, job: JobId) -> int:
    """When the job expires (ms)."""
    return ms_of(msgspec.json.decode(await job_queries.read_job(engine, who, job))["expires_at"])


@pytest.mark.parametrize("mode", YES)
async def test_who_can_say_yes_only_then_has_until_after_the_jobs_time(engine: Engine, mode: str) -> None:
    """A yes that begins the work waits for ``lead_s`` before its time, so the life counts from there, and moves with
    the time; a week after the booking the job is there and is taken.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    named = {"technician": "tom"} if mode == "direct" else {}
    when = now_ms() + WEEK
    done = await people.job(engine, carla, serves, blueprint=f"at_once_{mode}", scheduled_for=when, **named)
    job = people.id_of(done)
    assert await _until(engine, carla, job) == when - HOUR + 900_000
    await edits.edit_job(engine, carla, job, {"scheduled_for": when + HOUR})
    await edits.edit_job(engine, carla, job, {"lat": 40.76, "lon": -73.98})
    assert await _until(engine, carla, job) == when + 900_000
    if mode == "direct":
        [offer] = (await offers.find_open_offers(engine, tom)).items
        assert ms_of(msgspec.json.decode(offer)["expires_at"]) == when + 900_000
        with pytest.raises(TooEarly):
            await jobs.run_command(engine, tom, job, Step(command="accept"))
    await advance(engine, 7 * 24 * 3600 + 60)
    await due(engine)
    await live.set_availability(engine, tom, "tom", online=True, position=people.HERE)
    if mode == "direct":
        taken = await jobs.run_command(engine, tom, job, Step(command="accept"))
    else:
        made = await bids.create(engine, tom, job, bids.BidTerms())
        taken = await bids.accept(engine, carla, job, msgspec.json.decode(made.bid)["id"])
    assert told(taken)["status"] == "doing"


@pytest.mark.parametrize("mode", YES)
async def test_who_says_no_yes_then_lets_the_job_expire(engine: Engine, mode: str) -> None:
    """Its life over, counted from then, it is over."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", serves)
    named = {"technician": "tom"} if mode == "direct" else {}
    wanted = {"blueprint": f"at_once_{mode}", "scheduled_for": now_ms() + WEEK, **named}
    job = people.id_of(await people.job(engine, carla, serves, **wanted))  # type: ignore[arg-type]
    await advance(engine, 7 * 24 * 3600 - 3600 + 1000)
    await due(engine)
    assert msgspec.json.decode(await job_queries.read_job(engine, carla, job))["status"] == "late"
