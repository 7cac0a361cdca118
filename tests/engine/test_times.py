"""Tests of jobs that are booked for later: when the work may begin, when a job counts towards the technician's load,
and when it expires.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.clock import now_ms
from engine.domain import bids, edits, job_queries, jobs, offers
from engine.domain.commands import CommandInput
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

HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS


def job_of(outcome: Outcome) -> dict[str, Any]:
    """Return the job of a reply."""
    assert outcome.job is not None
    view: dict[str, Any] = msgspec.json.decode(outcome.job)
    return view


class TomsBooking:
    """A direct booking of tom by carla, scheduled for later, with the requests that tests send about it."""

    def __init__(self, engine: Engine, service: ServiceId, carla: Principal, tom: Principal, job: JobId) -> None:
        self.engine, self.service, self.carla, self.tom, self.job = engine, service, carla, tom, job

    async def read_load(self) -> int:
        """Return the load of tom: how many of tom's jobs count now."""
        record = keys.technician(DEFAULT_ZONE, TechnicianId(UserId("tom")))
        return int(await self.engine.store.redis.hget(record, "load") or 0)

    async def claim_another_job(self) -> None:
        """Create a job for now and claim it as tom."""
        await jobs.claim(self.engine, self.tom, await people.offered_job(self.engine, self.carla, self.service))

    async def actions(self) -> set[str]:
        """Return the commands that tom may send for the booking."""
        return set(msgspec.json.decode(await job_queries.read_job(self.engine, self.tom, self.job))["actions"])


async def book_tom(
    engine: Engine, ahead_ms: int, *, accepts: bool = True, blueprint: str = "direct_booking"
) -> TomsBooking:
    """Create a direct booking of tom, scheduled `ahead_ms` from now. Tom accepts it unless `accepts` is false."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    wanted = {"blueprint": blueprint, "technician": "tom", "scheduled_for": now_ms() + ahead_ms}
    job = people.id_of(await people.job(engine, carla, service, **wanted))
    if accepts:
        await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    return TomsBooking(engine, service, carla, tom, job)


IMMEDIATE_BLUEPRINT = """
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
ACCEPT_COMMANDS = {
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
EVENTS_OF_JOBS = ["job.created", "job.updated", "job.accepted", "job.status", "job.expired"]
EVENTS_OF_BIDS = ["job.searching", "bid.created", "bid.accepted", "bid.closed"]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with two blueprints in which an acceptance starts the work at once: one for a named technician
    (`direct`), one for bids (`bids`).
    """
    folder = tmp_path / "blueprints"
    folder.mkdir()
    for mode, yes in ACCEPT_COMMANDS.items():
        technician_line = 'technician = "required"' if mode == "direct" else ""
        event_types = EVENTS_OF_JOBS if mode == "direct" else EVENTS_OF_JOBS + EVENTS_OF_BIDS
        rules = "".join(f'[events."{each}"]\nto = ["customer", "ops"]\n' for each in event_types)
        edit = '[edit]\nwanted = ["scheduled_for", "lat", "lon"]\n'
        text = IMMEDIATE_BLUEPRINT.format(name=f"at_once_{mode}", mode=mode, named=technician_line)
        (folder / f"{mode}.toml").write_text(text + yes + edit + rules)
    return msgspec.structs.replace(settings, blueprints=str(folder))


async def run_due_tasks(engine: Engine) -> None:
    """Run the scheduled tasks that are due."""
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass


async def test_work_does_not_begin_before_its_time(engine: Engine) -> None:
    """More than `lead_s` before `scheduled_for` the command `start` is refused with `too_early` and is not among the
    actions; later it is accepted.
    """
    booking = await book_tom(engine, 2 * HOUR_MS)
    with pytest.raises(TooEarly):
        await jobs.run_command(engine, booking.tom, booking.job, CommandInput(command="start"))
    assert "start" not in await booking.actions()
    await advance(engine, 3601)
    await jobs.run_command(engine, booking.tom, booking.job, CommandInput(command="start"))


async def test_work_begins_when_its_time_is_near(engine: Engine) -> None:
    """Within `lead_s` of `scheduled_for` the command `start` is among the actions and is accepted."""
    booking = await book_tom(engine, HOUR_MS // 2)
    assert "start" in await booking.actions()
    await jobs.run_command(engine, booking.tom, booking.job, CommandInput(command="start"))


async def test_a_job_for_later_does_not_count_towards_the_load_today(engine: Engine) -> None:
    """A booking for next week does not count towards the load until `lead_s` before its time, and a technician at
    capacity today can still accept it.
    """
    booking = await book_tom(engine, WEEK_MS, accepts=False)
    await booking.claim_another_job()
    await jobs.run_command(engine, booking.tom, booking.job, CommandInput(command="accept"))
    assert await booking.read_load() == 1
    with pytest.raises(NotOffered):
        await booking.claim_another_job()
    await advance(engine, 7 * 24 * 3600)
    await run_due_tasks(engine)
    assert await booking.read_load() == 2


@pytest.mark.parametrize("change", ["unassign", "edit"])
async def test_the_load_follows_the_time_of_the_job(engine: Engine, change: str) -> None:
    """An edit of `scheduled_for` changes the load at once: 1 near the job's time, 0 long before it. After `unassign`
    the booking never counts again.
    """
    booking = await book_tom(engine, WEEK_MS, blueprint="marketplace")
    if change == "unassign":
        await jobs.run_command(engine, booking.carla, booking.job, CommandInput(command="unassign"))
    else:
        for ahead, read_load in ((HOUR_MS // 2, 1), (WEEK_MS, 0), (HOUR_MS // 2, 1)):
            await edits.edit_job(engine, people.ADMIN, booking.job, {"scheduled_for": now_ms() + ahead})
            assert await booking.read_load() == read_load
        await jobs.run_command(engine, booking.tom, booking.job, CommandInput(command="unassign"))
    assert await booking.read_load() == 0
    await advance(engine, 7 * 24 * 3600)
    await run_due_tasks(engine)
    assert await booking.read_load() == 0
    assert not await engine.store.redis.zscore(keys.due_tasks(DEFAULT_ZONE), f"begin:{booking.job}")


@pytest.mark.parametrize(
    ("ahead_s", "lives_s"), [(3000, 3000), (600, 900), (7200, 4500)], ids=["near", "nearer than its lifetime", "far"]
)
async def test_the_lifetime_of_a_job_depends_on_its_time(engine: Engine, ahead_s: int, lives_s: int) -> None:
    """The lifetime of a job counts from `lead_s` before `scheduled_for`, or from the booking if that is later. A job
    that is booked less than `lead_s` ahead does not expire before `scheduled_for`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    job = job_of(await people.job(engine, carla, service, scheduled_for=now_ms() + ahead_s * 1000))
    lives = ms_of(job["expires_at"]) - ms_of(job["created_at"])
    assert lives / 1000 == pytest.approx(lives_s, abs=2)


async def _read_expiry_ms(engine: Engine, caller: Principal, job: JobId) -> int:
    """Return the time at which the job expires (ms)."""
    return ms_of(msgspec.json.decode(await job_queries.read_job(engine, caller, job))["expires_at"])


@pytest.mark.parametrize("mode", ACCEPT_COMMANDS)
async def test_a_job_whose_acceptance_starts_the_work_lives_until_after_its_time(engine: Engine, mode: str) -> None:
    """If an acceptance starts the work, the job's lifetime counts from `lead_s` before `scheduled_for` and moves with
    an edit of that time. A job booked a week ahead is still open then and can be accepted.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    fields = {"technician": "tom"} if mode == "direct" else {}
    when = now_ms() + WEEK_MS
    booking = await people.job(engine, carla, service, blueprint=f"at_once_{mode}", scheduled_for=when, **fields)
    job = people.id_of(booking)
    assert await _read_expiry_ms(engine, carla, job) == when - HOUR_MS + 900_000
    await edits.edit_job(engine, carla, job, {"scheduled_for": when + HOUR_MS})
    await edits.edit_job(engine, carla, job, {"lat": 40.76, "lon": -73.98})
    assert await _read_expiry_ms(engine, carla, job) == when + 900_000
    if mode == "direct":
        [offer] = (await offers.find_open_offers(engine, tom)).items
        assert ms_of(msgspec.json.decode(offer)["expires_at"]) == when + 900_000
        with pytest.raises(TooEarly):
            await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    await advance(engine, 7 * 24 * 3600 + 60)
    await run_due_tasks(engine)
    await live.set_availability(engine, tom, "tom", online=True, position=people.HERE)
    if mode == "direct":
        outcome = await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    else:
        created = await bids.create_bid(engine, tom, job, bids.BidTerms())
        outcome = await bids.accept_bid(engine, carla, job, msgspec.json.decode(created.bid)["id"])
    assert job_of(outcome)["status"] == "doing"


@pytest.mark.parametrize("mode", ACCEPT_COMMANDS)
async def test_a_job_whose_acceptance_starts_the_work_expires(engine: Engine, mode: str) -> None:
    """A job whose acceptance starts the work expires when nobody accepts it before the end of that lifetime."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    fields = {"technician": "tom"} if mode == "direct" else {}
    wanted = {"blueprint": f"at_once_{mode}", "scheduled_for": now_ms() + WEEK_MS, **fields}
    job = people.id_of(await people.job(engine, carla, service, **wanted))  # type: ignore[arg-type]
    await advance(engine, 7 * 24 * 3600 - 3600 + 1000)
    await run_due_tasks(engine)
    assert msgspec.json.decode(await job_queries.read_job(engine, carla, job))["status"] == "late"
