"""Jobs whose technician's position is shared: which are in the technician's set, from when on, and how many."""

from __future__ import annotations

import msgspec
import pytest

from engine.domain import edits, jobs
from engine.domain.commands import CommandInput
from engine.domain.positions import PublishedFix
from engine.rules.fixes import Fix
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId
from engine.workers import scheduler
from tests.support import people
from tests.support.clock import advance

MINUTE_MS = 60_000


@pytest.fixture
async def service(engine: Engine) -> ServiceId:
    """Create a service."""
    return await people.service(engine)


async def claimed_job(engine: Engine, tom: Principal, service: ServiceId) -> JobId:
    """Book a job that ``tom`` claims."""
    job = await people.offered_job(engine, await people.customer(engine), service)
    await jobs.claim(engine, tom, job)
    return job


async def take_steps(engine: Engine, who: Principal, job: JobId, *names: str) -> None:
    """Take these steps of the job."""
    for name in names:
        await jobs.run_command(engine, who, job, CommandInput(command=name, reason="flat tyre"))


async def tracked(engine: Engine, who: Principal) -> set[str]:
    """Return the jobs in the technician's set of jobs whose position is shared now."""
    members = await engine.store.redis.smembers(keys.technician_tracked(DEFAULT_ZONE, TechnicianId(who.id)))
    return {member.decode() for member in members}


async def zone_now(engine: Engine) -> int:
    """Return the zone's time in ms."""
    seconds, microseconds = await engine.store.redis.time()
    skew = await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew")
    return int(seconds) * 1000 + int(microseconds) // 1000 + int(skew or 0)


async def test_a_job_is_tracked_from_the_declared_state_until_the_work_is_over(
    engine: Engine, service: ServiceId
) -> None:
    """A job of `home_service` is in the set from `on_the_way` until `completed`. If it is unassigned, it leaves the set
    of its former holder.
    """
    tom = await people.technician(engine, "tom", service, capacity=2)
    one, two = await claimed_job(engine, tom, service), await claimed_job(engine, tom, service)
    assert await tracked(engine, tom) == set()
    for job in (one, two):
        await take_steps(engine, tom, job, "depart")
    assert await tracked(engine, tom) == {one, two}
    await take_steps(engine, tom, two, "unassign")
    await take_steps(engine, tom, one, "arrive", "start")
    assert await tracked(engine, tom) == {one}
    await take_steps(engine, tom, one, "complete")
    assert await tracked(engine, tom) == set()


async def test_a_scheduled_job_is_tracked_from_an_hour_before(engine: Engine, service: ServiceId) -> None:
    """A job of `marketplace` in 90 minutes enters the set half an hour later, by a scheduled task. If its time is
    changed, the task moves; a job that is moved away leaves the set.
    """
    tom, customer = await people.technician(engine, "tom", service), await people.customer(engine)
    at = await zone_now(engine) + 90 * MINUTE_MS
    booked = {"blueprint": "marketplace", "technician": "tom", "scheduled_for": at}
    job = people.id_of(await people.job(engine, customer, service, **booked))  # type: ignore[arg-type]
    await take_steps(engine, tom, job, "accept")
    due = await engine.store.redis.zscore(keys.due_tasks(DEFAULT_ZONE), f"track:{job}")
    assert (await tracked(engine, tom), due) == (set(), at - 60 * MINUTE_MS)
    await advance(engine, 31 * 60)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    assert await tracked(engine, tom) == {job}
    assert await engine.store.redis.zscore(keys.due_tasks(DEFAULT_ZONE), f"track:{job}") is None
    await edits.edit_job(engine, customer, job, {"scheduled_for": at + 60 * MINUTE_MS})
    assert await tracked(engine, tom) == set()
    await edits.edit_job(engine, customer, job, {"scheduled_for": at})
    assert await tracked(engine, tom) == {job}


async def test_a_fix_concerns_at_most_16_jobs(engine: Engine, service: ServiceId) -> None:
    """A technician with 20 jobs publishes 16 with a fix, those that are shared first. A job for which there was no
    room in the set enters it after another has ended.
    """
    tom = await people.technician(engine, "tom", service, capacity=40)
    held = [await claimed_job(engine, tom, service) for _ in range(20)]
    shared = held[::7]
    for job in shared:
        await take_steps(engine, tom, job, "depart")
    published = await publish_fix(engine, tom)
    assert {each.id for each in published.jobs[: len(shared)]} == set(shared)
    assert len({each.id for each in published.jobs}) == 16
    for job in held:
        if job not in shared:
            await take_steps(engine, tom, job, "depart")
    inside = await tracked(engine, tom)
    assert len(inside) == 16
    outside = set(held) - inside
    assert {each.id for each in (await publish_fix(engine, tom)).jobs} == inside
    first = next(iter(inside))
    await take_steps(engine, tom, JobId(first), "arrive", "start", "complete")
    await advance(engine, 61)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    now_inside = await tracked(engine, tom)
    assert len(now_inside & outside) == 1 and now_inside - outside == inside - {first}


async def publish_fix(engine: Engine, who: Principal) -> PublishedFix:
    """Send a fix, and return what the script published for it."""
    async with engine.store.redis.pubsub() as channel:
        await channel.ssubscribe(keys.live_channel(DEFAULT_ZONE))
        await advance(engine, 1)
        await live.store_fixes(engine, who, who.id, [Fix(lat=40.7501, lon=-73.99)])
        while True:
            message = await channel.get_message(timeout=5)
            if message is not None and message["type"] == "smessage" and b'"kind":"fix"' in message["data"]:
                return msgspec.json.decode(message["data"], type=PublishedFix)
