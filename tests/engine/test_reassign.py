"""Tests of the suspension of a technician who holds jobs: with `jobs="reassign"` the jobs are offered to others; with
`jobs="keep"` the jobs stay.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from engine.domain import jobs, reassign
from engine.domain.jobs import CommandInput
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


async def suspend(engine: Engine, technician: Principal, *, mode: Any = "reassign", key: str | None = None) -> None:
    """Suspend the technician. `mode` is `reassign` or `keep`: what happens to their jobs."""
    await accounts.suspend_user(engine, ADMIN, technician.id, reason="complaints", jobs=mode, key=key)


async def create_held_job(engine: Engine, technician: Principal, service: ServiceId, *commands: str) -> JobId:
    """Create a job, claim it as the technician, and send `commands` in their order. Return the job's id."""
    job = await people.offered_job(engine, await people.customer(engine), service)
    for command in ("claim", *commands):
        await jobs.run_command(engine, technician, job, CommandInput(command=command))
    return job


async def read_job_fields(engine: Engine, job: JobId, *fields: str) -> list[str]:
    """Return these fields of the job's record in Redis; an absent field is an empty text."""
    return [(v or b"").decode() for v in await engine.store.redis.hmget(keys.job(DEFAULT_ZONE, job), list(fields))]


async def read_pending_orders(engine: Engine) -> list[str]:
    """Return the actors whose order to reassign a technician's jobs is in SQL and not yet done."""
    async with engine.archive.begin_read() as conn:
        return list((await conn.execute(select(outbox.c.actor).where(outbox.c.reassign))).scalars())


async def test_a_suspension_with_keep_leaves_the_jobs(engine: Engine) -> None:
    """A suspension with `jobs="keep"` leaves the technician their job, but the technician can send no command."""
    service = await people.service(engine)
    who = await staff.create_eligible_technician(engine, service)
    job = await create_held_job(engine, who, service)
    await suspend(engine, who, mode="keep")
    assert await read_job_fields(engine, job, "status", "holder") == ["accepted", who.id]
    with pytest.raises(CalloutError):
        await jobs.run_command(engine, who, job, CommandInput(command="claim"))


async def test_jobs_that_have_not_begun_are_offered_to_others(engine: Engine) -> None:
    """A job whose work has not begun loses its holder and is claimed by another technician; the suspended technician's
    claim is refused and their open offers are withdrawn. A job in `in_progress` stays, and ops receive `job.stalled`.
    """
    service = await people.service(engine)
    who, other = (
        await staff.create_eligible_technician(engine, service, capacity=5),
        await staff.create_eligible_technician(engine, service, capacity=5),
    )
    claimed_job, job_on_the_way = (
        await create_held_job(engine, who, service),
        await create_held_job(engine, who, service, "depart", "arrive"),
    )
    job_in_progress = await create_held_job(engine, who, service, "depart", "arrive", "start")
    offered = await people.offered_job(engine, await people.customer(engine), service)
    await suspend(engine, who)
    for job in (claimed_job, job_on_the_way):
        assert await read_job_fields(engine, job, "status", "holder") == ["broadcasted", ""]
        [unassigned] = await event_log.events(engine, "job.unassigned", job)
        assert event_log.payload(unassigned)["reason"] == "suspended" and unassigned.actor == "admin:cli_admin"
        await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
        with pytest.raises(AccountNotApproved):
            await jobs.claim(engine, who, job)
        await jobs.claim(engine, other, job)
    assert await read_job_fields(engine, job_in_progress, "status", "holder") == ["in_progress", who.id]
    [stalled] = await event_log.events(engine, "job.stalled", job_in_progress)
    assert stalled.to == ("role:ops",)
    payload = event_log.payload(stalled)
    assert (payload["step"], payload["technician"]) == ("suspended", {"id": who.id})
    closed = [e for e in await event_log.events(engine, "offer.closed", offered) if f"user:{who.id}" in e.to]
    assert [event_log.payload(event)["reason"] for event in closed] == ["withdrawn"]
    record = await engine.store.redis.hmget(keys.technician(DEFAULT_ZONE, TechnicianId(who.id)), "load", "online")
    assert record == [b"1", b""]


async def test_a_repeated_suspension_acts_once(engine: Engine) -> None:
    """A repeated suspension, with the same key or another one, unassigns no further job, and ops receive `job.stalled`
    once.
    """
    service = await people.service(engine)
    who, other, key = (
        await staff.create_eligible_technician(engine, service, capacity=5),
        await staff.create_eligible_technician(engine, service),
        str(uuid.uuid4()),
    )
    claimed_job, held_job = (
        await create_held_job(engine, who, service),
        await create_held_job(engine, who, service, "depart", "arrive", "start"),
    )
    await suspend(engine, who, key=key)
    await scheduler.open_wave(engine, DEFAULT_ZONE, claimed_job, 1)
    await jobs.claim(engine, other, claimed_job)
    await suspend(engine, who, key=key)
    await suspend(engine, who)
    assert await read_job_fields(engine, claimed_job, "status", "holder") == ["accepted", other.id]
    assert len(await event_log.events(engine, "job.unassigned", claimed_job)) == 1
    assert len(await event_log.events(engine, "job.stalled", held_job)) == 1


async def test_maintenance_completes_a_reassignment_after_a_crash(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the process fails in the middle of the reassignment, the caller gets `indeterminate`, and the maintenance task
    reassigns the remaining jobs.
    """
    service = await people.service(engine)
    who = await staff.create_eligible_technician(engine, service, capacity=5)
    held_jobs = [await create_held_job(engine, who, service) for _ in range(3)]
    command, calls = jobs.run_command, 0

    async def fail_after_first_call(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise Unavailable("gone")
        return await command(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(reassign.jobs, "run_command", fail_after_first_call)
        with pytest.raises(Indeterminate):
            await suspend(engine, who)
    assert sorted([(await read_job_fields(engine, job, "status"))[0] for job in held_jobs]) == [
        "accepted",
        "accepted",
        "broadcasted",
    ]
    assert await run_once(engine) == 1
    assert {(await read_job_fields(engine, job, "status"))[0] for job in held_jobs} == {"broadcasted"}
    assert await run_once(engine) == 0


async def test_a_job_that_ops_reassigned_stays_with_its_new_holder(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that ops reassigned during the suspension stays with its new holder, because its version has changed."""
    service = await people.service(engine)
    who, other = (
        await staff.create_eligible_technician(engine, service),
        await staff.create_eligible_technician(engine, service),
    )
    job = await create_held_job(engine, who, service)
    command = jobs.run_command

    async def reassign_by_hand_first(engine_: Engine, by: Principal, name: str, step: CommandInput, **more: Any) -> Any:
        await command(engine_, ADMIN, name, CommandInput(command="reassign", technician=other.id, reason="by hand"))
        return await command(engine_, by, name, step, **more)

    with monkeypatch.context() as patched:
        patched.setattr(reassign.jobs, "run_command", reassign_by_hand_first)
        await suspend(engine, who)
    assert await read_job_fields(engine, job, "status", "holder") == ["accepted", other.id]


async def test_only_ops_may_suspend(engine: Engine) -> None:
    """A technician may not suspend anybody. After a suspension by an admin the job has no holder, and no order to
    reassign remains in SQL.
    """
    service = await people.service(engine)
    who = await staff.create_eligible_technician(engine, service)
    job = await create_held_job(engine, who, service)
    with pytest.raises(Forbidden):
        await accounts.suspend_user(engine, who, ADMIN.id, reason="x", jobs="reassign")
    await suspend(engine, who)
    assert await read_job_fields(engine, job, "holder") == [""]
    assert await read_pending_orders(engine) == []


async def test_a_reinstatement_cancels_a_pending_reassignment(engine: Engine) -> None:
    """A reinstatement cancels a reassignment that was ordered and not yet done: the technician remains the holder."""
    service = await people.service(engine)
    who = await staff.create_eligible_technician(engine, service)
    job = await create_held_job(engine, who, service)

    async def raise_unavailable(*_: Any, **__: Any) -> None:
        raise Unavailable("gone")

    with pytest.raises(Indeterminate):
        await suspend(dataclasses.replace(engine, release_jobs=raise_unavailable), who)
    assert await read_pending_orders(engine) == ["admin:cli_admin"]
    await accounts.reinstate_user(engine, ADMIN, who.id)
    assert await read_pending_orders(engine) == []
    assert await read_job_fields(engine, job, "status", "holder") == ["accepted", who.id]
