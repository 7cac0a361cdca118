"""A technician is suspended: their jobs are offered to others, or stay and ops are informed."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import select

from engine.domain import jobs, reassign
from engine.domain.jobs import Step
from engine.errors import AccountNotApproved, CalloutError, Forbidden, Indeterminate, Unavailable
from engine.identity import accounts
from engine.identity.outbox import run_once
from engine.runtime import Engine
from engine.sql.schema import outbox
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId
from engine.workers import scheduler
from tests.engine import staff
from tests.support import event_log, people
from tests.support.people import ADMIN


async def suspend(engine: Engine, who: Principal, *, how: Any = "reassign", key: str | None = None) -> None:
    """Suspend the technician."""
    await accounts.suspend_user(engine, ADMIN, who.id, reason="complaints", jobs=how, key=key)


async def held(engine: Engine, who: Principal, serves: ServiceId, *steps: str) -> JobId:
    """Create a job that the technician has claimed, and give ``steps``."""
    job = await people.offered(engine, await people.customer(engine), serves)
    for step in ("claim", *steps):
        await jobs.run_command(engine, who, job, Step(command=step))
    return job


async def of(engine: Engine, job: JobId, *fields: str) -> list[str]:
    """Return the job's record."""
    return [(v or b"").decode() for v in await engine.store.redis.hmget(keys.job(DEFAULT_ZONE, job), list(fields))]


async def ordered(engine: Engine) -> list[str]:
    """Who ordered that jobs be given to others, as SQL keeps it until it is done."""
    async with engine.archive.reading() as conn:
        return list((await conn.execute(select(outbox.c.actor).where(outbox.c.reassign))).scalars())


async def test_kept_as_they_were(engine: Engine) -> None:
    """Without a request for it no job is taken from the technician, who can do nothing any more."""
    serves = await people.service(engine)
    who = await staff.eligible(engine, serves)
    job = await held(engine, who, serves)
    await suspend(engine, who, how="keep")
    assert await of(engine, job, "status", "holder") == ["accepted", who.id]
    with pytest.raises(CalloutError):
        await jobs.run_command(engine, who, job, Step(command="claim"))


async def test_what_can_be_taken_is_offered_to_others(engine: Engine) -> None:
    """The technician is excluded, their offers are withdrawn and another one claims the job; work that has begun
    stays, and ops are informed.
    """
    serves = await people.service(engine)
    who, other = await staff.eligible(engine, serves, capacity=5), await staff.eligible(engine, serves, capacity=5)
    taken, way = await held(engine, who, serves), await held(engine, who, serves, "depart", "arrive")
    stays = await held(engine, who, serves, "depart", "arrive", "start")
    offered = await people.offered(engine, await people.customer(engine), serves)
    await suspend(engine, who)
    for job in (taken, way):
        assert await of(engine, job, "status", "holder") == ["broadcasted", ""]
        [left] = await event_log.events(engine, "job.unassigned", job)
        assert event_log.payload(left)["reason"] == "suspended" and left.actor == "admin:cli_admin"
        await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
        with pytest.raises(AccountNotApproved):
            await jobs.claim(engine, who, job)
        await jobs.claim(engine, other, job)
    assert await of(engine, stays, "status", "holder") == ["in_progress", who.id]
    [stalled] = await event_log.events(engine, "job.stalled", stays)
    assert stalled.to == ("role:ops",)
    told = event_log.payload(stalled)
    assert (told["step"], told["technician"]) == ("suspended", {"id": who.id})
    closed = [e for e in await event_log.events(engine, "offer.closed", offered) if f"user:{who.id}" in e.to]
    assert [event_log.payload(event)["reason"] for event in closed] == ["withdrawn"]
    record = await engine.store.redis.hmget(keys.technician(DEFAULT_ZONE, TechnicianId(who.id)), "load", "online")
    assert record == [b"1", b""]


async def test_asked_twice_it_is_done_once(engine: Engine) -> None:
    """A repeat, by the same key or another one, takes nothing more, and ops are informed once."""
    serves = await people.service(engine)
    who, other, key = (
        await staff.eligible(engine, serves, capacity=5),
        await staff.eligible(engine, serves),
        str(uuid.uuid4()),
    )
    taken, stays = await held(engine, who, serves), await held(engine, who, serves, "depart", "arrive", "start")
    await suspend(engine, who, key=key)
    await scheduler.open_wave(engine, DEFAULT_ZONE, taken, 1)
    await jobs.claim(engine, other, taken)
    await suspend(engine, who, key=key)
    await suspend(engine, who)
    assert await of(engine, taken, "status", "holder") == ["accepted", other.id]
    assert len(await event_log.events(engine, "job.unassigned", taken)) == 1
    assert len(await event_log.events(engine, "job.stalled", stays)) == 1


async def test_a_crash_in_between_is_made_good(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process dies between suspension and reassignment, the reply says so and the maintenance task completes
    it.
    """
    serves = await people.service(engine)
    who = await staff.eligible(engine, serves, capacity=5)
    mine = [await held(engine, who, serves) for _ in range(3)]
    command, done = jobs.run_command, 0

    async def dies(*args: Any, **more: Any) -> Any:
        nonlocal done
        done += 1
        if done > 1:
            raise Unavailable("gone")
        return await command(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(reassign.jobs, "run_command", dies)
        with pytest.raises(Indeterminate):
            await suspend(engine, who)
    assert sorted([(await of(engine, job, "status"))[0] for job in mine]) == ["accepted", "accepted", "broadcasted"]
    assert await run_once(engine) == 1
    assert {(await of(engine, job, "status"))[0] for job in mine} == {"broadcasted"}
    assert await run_once(engine) == 0


async def test_a_job_that_went_to_another_is_left_to_him(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ops reassigned meanwhile stays with its new holder, because its version has changed."""
    serves = await people.service(engine)
    who, other = await staff.eligible(engine, serves), await staff.eligible(engine, serves)
    job = await held(engine, who, serves)
    command = jobs.run_command

    async def overtaken(engine_: Engine, by: Principal, name: str, step: Step, **more: Any) -> Any:
        await command(engine_, ADMIN, name, Step(command="reassign", technician=other.id, reason="by hand"))
        return await command(engine_, by, name, step, **more)

    with monkeypatch.context() as patched:
        patched.setattr(reassign.jobs, "run_command", overtaken)
        await suspend(engine, who)
    assert await of(engine, job, "status", "holder") == ["accepted", other.id]


async def test_who_may_and_who_comes_back(engine: Engine) -> None:
    """Only ops and admins may do it, and nothing more is taken from a reinstated technician."""
    serves = await people.service(engine)
    who = await staff.eligible(engine, serves)
    job = await held(engine, who, serves)
    with pytest.raises(Forbidden):
        await accounts.suspend_user(engine, who, ADMIN.id, reason="x", jobs="reassign")
    await suspend(engine, who)
    assert await of(engine, job, "holder") == [""]
    assert await ordered(engine) == []


async def test_reinstated_before_it_was_done_nothing_more_is_taken(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reinstatement cancels what the suspension ordered and is not done yet."""
    serves = await people.service(engine)
    who = await staff.eligible(engine, serves)
    job = await held(engine, who, serves)

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(reassign, "release_jobs", away)
        with pytest.raises(Indeterminate):
            await suspend(engine, who)
    assert await ordered(engine) == ["admin:cli_admin"]
    await accounts.reinstate_user(engine, ADMIN, who.id)
    assert await ordered(engine) == []
    assert await of(engine, job, "status", "holder") == ["accepted", who.id]
