"""Tests of what may happen after the claim: the holder leaves the job, is unassigned, or is replaced."""

from __future__ import annotations

import orjson
import pytest

from engine.domain import job_queries, jobs, waves
from engine.domain.commands import CommandInput
from engine.errors import (
    AtCapacity,
    Expired,
    Forbidden,
    IllegalTransition,
    Invalid,
    NotFound,
    NotOffered,
    Taken,
)
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, TechnicianId
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance


async def _read_held_jobs(engine: Engine, technician: Principal) -> set[bytes]:
    """Return the ids of the jobs that the technician holds, as Redis has them."""
    name = keys.technician_jobs(DEFAULT_ZONE, TechnicianId(technician.id))
    held_jobs: set[bytes] = await engine.store.redis.smembers(name)  # type: ignore[misc]
    return held_jobs


async def _read_job_record(engine: Engine, job: JobId) -> dict[bytes, bytes]:
    """Return the job's record in Redis."""
    row: dict[bytes, bytes] = await engine.store.redis.hgetall(keys.job(DEFAULT_ZONE, job))  # type: ignore[misc]
    return row


async def test_only_holder_and_ops_may_unassign_and_only_before_the_work(engine: Engine) -> None:
    """Only the holder and ops may use `unassign`: another technician gets `not_found`, the customer `forbidden`. Once
    the work has begun, `unassign` and `reassign` are refused with `illegal_transition`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service) for name in ("tom", "tara")]
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job)
    with pytest.raises(NotFound):
        await jobs.run_command(engine, tara, job, CommandInput(command="unassign"))
    with pytest.raises(Forbidden):
        await jobs.run_command(engine, carla, job, CommandInput(command="unassign"))
    for command in ("depart", "arrive", "start"):
        await jobs.run_command(engine, tom, job, CommandInput(command=command))
    for command in ("unassign", "reassign"):
        with pytest.raises(IllegalTransition):
            await jobs.run_command(engine, people.ADMIN, job, CommandInput(command=command, technician="tara"))
    assert (await _read_job_record(engine, job))[b"holder"] == b"tom"


async def test_a_holder_who_leaves_is_free_and_receives_no_new_offer(engine: Engine) -> None:
    """After `unassign` by the holder the job is open without a holder, its old offers are closed, and the next wave
    makes no offer to the former holder.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service) for name in ("tom", "tara")]
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job)
    released = await jobs.run_command(engine, tom, job, CommandInput(command="unassign", reason="my car broke down"))
    assert released.message == "Offered anew"
    row = await _read_job_record(engine, job)
    assert (row[b"status"], row[b"phase"], row[b"holder"]) == (b"broadcasted", b"open", b"")
    assert await _read_held_jobs(engine, tom) == set()
    for who in (tom, tara):  # tom's offer ended with the claim; tara's was of the first round
        with pytest.raises((NotOffered, Expired)):
            await jobs.claim(engine, who, job)
    await waves.open_wave(engine, DEFAULT_ZONE, job, 1)
    offer_event = (await event_log.events(engine, "offer.created", job))[-1]
    assert offer_event.to == ("user:tara",)
    with pytest.raises(NotOffered):
        await jobs.claim(engine, tom, job)
    claim = await jobs.claim(engine, tara, job)
    assert claim.version > released.version
    ops_event = (await event_log.events(engine, "job.unassigned", job))[0]
    assert {f"user:{carla.id}", "role:ops", f"job:{job}"} == set(ops_event.to)
    assert [event.to for event in await event_log.public_events(engine, "job.unassigned", job)] == [("user:tom",)]
    data = event_log.payload(ops_event)
    assert (data["reason"], data["actor"]["id"], data["job"]["technician"]) == ("my car broke down", "tom", None)
    with pytest.raises(Taken):
        await jobs.claim(engine, await people.technician(engine, "late", service), job)


async def test_ops_reassign_a_job_to_a_technician(engine: Engine) -> None:
    """`reassign` to a technician who is unknown, ineligible or without the service is refused; a technician at capacity
    is refused without `force`, and with it is the holder at once.
    """
    service, other = await people.service(engine), await people.service(engine, name="Painting")
    carla = await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service) for name in ("tom", "tara")]
    await people.technician(engine, "pia", other)
    await people.technician(engine, "new", service, at=None, kyc="pending")
    job, busy = await people.offered_job(engine, carla, service), await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job)
    await jobs.claim(engine, tara, busy)
    for name in ("nobody", "pia", "new"):
        with pytest.raises(Invalid) as refused:
            await jobs.run_command(engine, people.ADMIN, job, CommandInput(command="reassign", technician=name))
        assert refused.value.errors[0][0] == "/technician"
    with pytest.raises(AtCapacity):
        await jobs.run_command(engine, people.ADMIN, job, CommandInput(command="reassign", technician="tara"))
    assert await _read_held_jobs(engine, tom) == {job.encode()}
    await jobs.run_command(
        engine, people.ADMIN, job, CommandInput(command="reassign", technician="tara", force=True, reason="sick")
    )
    assert await _read_held_jobs(engine, tom) == set() and job.encode() in await _read_held_jobs(engine, tara)
    unassigned_event, assigned_event = [
        (await event_log.events(engine, kind, job))[0] for kind in ("job.unassigned", "job.assigned")
    ]
    [notice] = await event_log.public_events(engine, "job.unassigned", job)
    assert notice.to == ("user:tom",) and unassigned_event.seq < notice.seq < assigned_event.seq
    assert "user:tom" not in assigned_event.to and "user:tara" in assigned_event.to
    assert (
        event_log.payload(assigned_event)["technician"]["id"] == "tara"
        and event_log.payload(assigned_event)["reason"] == "sick"
    )
    with pytest.raises(NotFound):
        await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    await jobs.run_command(engine, tara, job, CommandInput(command="depart"))


async def test_reassign_without_a_technician_opens_the_job_again(engine: Engine) -> None:
    """`reassign` without a technician opens the job for offers again; a repeat with the same key gets the same reply
    and has no further effect.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job)
    key = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"
    step = CommandInput(command="reassign", reason="complaint")
    first = await jobs.run_command(engine, people.ADMIN, job, step, key=key)
    again = await jobs.run_command(engine, people.ADMIN, job, step, key=key)
    assert (first.seq, first.version) == (again.seq, again.version) and again.repeated
    assert len(await event_log.events(engine, "job.unassigned", job)) == 1
    assert (await _read_job_record(engine, job))[b"status"] == b"broadcasted"


async def test_the_lifetime_starts_again_when_the_holder_leaves(engine: Engine) -> None:
    """The job's lifetime starts again when the holder leaves. If nobody claims the job in that time, it expires and the
    customer receives `job.expired`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job)
    await advance(engine, 800)
    await jobs.run_command(engine, tom, job, CommandInput(command="unassign"))
    await advance(engine, 800)
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    assert (await _read_job_record(engine, job))[b"status"] == b"broadcasted"
    await advance(engine, 101)
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    assert (await _read_job_record(engine, job))[b"status"] == b"expired"
    assert f"user:{carla.id}" in (await event_log.events(engine, "job.expired", job))[0].to


async def test_a_job_without_a_holder_cannot_be_unassigned(engine: Engine) -> None:
    """On a job without a holder `unassign` is refused with `illegal_transition` and is not among the actions."""
    service, carla = await people.service(engine), await people.customer(engine)
    job = people.id_of(await people.job(engine, carla, service, blueprint="delivery"))
    for command in ("confirm", "prepare", "ready"):
        await jobs.run_command(engine, people.ADMIN, job, CommandInput(command=command))
    job_view = orjson.loads(await job_queries.read_job(engine, people.ADMIN, job))
    assert job_view["actions"] == ["assign", "reassign", "cancel"]
    with pytest.raises(IllegalTransition):
        await jobs.run_command(engine, people.ADMIN, job, CommandInput(command="unassign"))
    assert await event_log.events(engine, "job.unassigned", job) == []


@pytest.mark.parametrize("other", [None, "tara"])
async def test_a_former_holder_no_longer_lists_the_job(engine: Engine, other: str | None) -> None:
    """After `reassign`, with or without a new technician, the job is not in the former holder's list of jobs."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom, _ = [await people.technician(engine, name, service) for name in ("tom", "tara")]
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job)
    await jobs.run_command(engine, people.ADMIN, job, CommandInput(command="reassign", technician=other))
    assert await engine.store.redis.zrange(keys.user_jobs(DEFAULT_ZONE, tom.id), 0, -1) == []
