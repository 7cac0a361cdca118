"""Tests of finished jobs that Redis has evicted ten minutes after they were archived: a command on such a job is
refused as before, and who could read it still can.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from engine.domain import bids, disputes, edits, job_history, job_queries, jobs, prices
from engine.domain.bids import BidTerms
from engine.domain.jobs import CommandInput
from engine.errors import CalloutError, NotFound
from engine.rules import job_document
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, UserId
from engine.workers import archiver
from tests.archive.test_refunds import archive_and_forget
from tests.support import people

TEN_MINUTES_MS = 600_000
MEDIATOR = Principal(UserId("user_mediator"), "mediator")
OPS_CALLER = Principal(UserId("cli_ops_manager"), "ops_manager")

Attempt = Callable[[Engine, JobId], Awaitable[object]]


def step(caller: Principal, command: str) -> Attempt:
    """Return an attempt to give the command to the job."""
    return lambda engine, job: jobs.run_command(engine, caller, job, CommandInput(command=command))


async def refusal_of(engine: Engine, job: JobId, attempt: Attempt) -> str:
    """Return the error code with which ``attempt``, a command on the job, is refused."""
    with pytest.raises(CalloutError) as refused:
        await attempt(engine, job)
    return refused.value.code


async def create_won_job(engine: Engine) -> tuple[Principal, Principal, Principal, JobId]:
    """Create a job that two technicians were offered, that the first has claimed and that ops have cancelled. Return
    its customer, both technicians and its id.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    winner, loser = [await people.technician(engine, name, service) for name in ("t1", "t2")]
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, winner, job)
    await jobs.run_command(engine, OPS_CALLER, job, CommandInput(command="cancel", reason="flooded"))
    return carla, winner, loser, job


async def test_every_command_is_refused_as_before_the_eviction(engine: Engine) -> None:
    """Each command on a finished job has the same refusal while Redis has the job and after it was evicted."""
    carla, winner, loser, job = await create_won_job(engine)
    attempts: dict[str, Attempt] = {
        "claim": step(loser, "claim"),
        "claim again": step(winner, "claim"),
        "decline": step(loser, "decline"),
        "start": step(winner, "depart"),
        "cancel": step(carla, "cancel"),
        "assign": step(OPS_CALLER, "assign"),
        "unknown": step(carla, "fly"),
        "by another role": step(MEDIATOR, "cancel"),
        "edit": lambda engine, job: edits.edit_job(engine, carla, job, {"notes": "ring twice"}),
        "price": lambda engine, job: prices.propose_price(engine, carla, job, 900),
        "bid": lambda engine, job: bids.create_bid(engine, loser, job, BidTerms(amount=900)),
        "dispute": lambda engine, job: disputes.open_dispute(engine, carla, job, "why"),
    }
    before = {name: await refusal_of(engine, job, attempt) for name, attempt in attempts.items()}
    await archive_and_forget(engine, job)
    for name, attempt in attempts.items():
        await engine.store.redis.delete(keys.job(DEFAULT_ZONE, job))
        assert (name, await refusal_of(engine, job, attempt)) == (name, before[name])


async def test_a_step_is_repeated_after_the_eviction(engine: Engine) -> None:
    """A second claim of the holder and a repeat of the last step get the first reply, also after the done job was
    evicted. If ops assigned the holder, their claim gets `taken` before and after the eviction.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    winner, other = [await people.technician(engine, name, service) for name in ("t1", "t2")]
    claimed, given = [await people.offered_job(engine, carla, service) for _ in range(2)]
    await jobs.claim(engine, winner, given)
    await jobs.run_command(
        engine, OPS_CALLER, given, CommandInput(command="reassign", technician=other.id, reason="so")
    )
    first = await jobs.claim(engine, winner, claimed)
    for who, job in ((winner, claimed), (other, given)):
        for command in ("depart", "arrive", "start", "complete"):
            last = await jobs.run_command(engine, who, job, CommandInput(command=command))
    before = await refusal_of(engine, given, step(other, "claim"))
    for job in (claimed, given):
        await archive_and_forget(engine, job)
    again = await jobs.claim(engine, winner, claimed)
    assert (again.seq, again.version, again.repeated) == (first.seq, first.version, True)
    again = await jobs.run_command(engine, other, given, CommandInput(command="complete"))
    assert (again.seq, again.version, again.repeated) == (last.seq, last.version, True)
    assert (await refusal_of(engine, given, step(other, "claim")), before) == ("taken", "taken")


async def test_a_stranger_restores_nothing(engine: Engine) -> None:
    """A caller who may not see the job gets `not_found`, and the job stays evicted."""
    _, _, _, job = await create_won_job(engine)
    stranger = await people.customer(engine, "Mallory")
    await archive_and_forget(engine, job)
    with pytest.raises(NotFound):
        await jobs.run_command(engine, stranger, job, CommandInput(command="cancel"))
    assert not await engine.store.redis.exists(keys.job(DEFAULT_ZONE, job))


async def test_a_technician_who_was_offered_the_job_still_reads_its_public_part(engine: Engine) -> None:
    """The technician who lost the job reads the public part; a technician who was never asked does not."""
    _, winner, loser, job = await create_won_job(engine)
    never_asked = await people.technician(engine, "t3", await people.service(engine))
    await archive_and_forget(engine, job)
    assert job_document.decode_job(await job_queries.read_job(engine, loser, job)).customer is None
    assert job_document.decode_job(await job_queries.read_job(engine, winner, job)).customer is not None
    with pytest.raises(NotFound):
        await job_queries.read_job(engine, never_asked, job)


async def test_a_finished_job_leaves_redis_ten_minutes_after_it_is_archived(engine: Engine) -> None:
    """When a finished job is archived, its offers, its waves and the records of its changes leave Redis at once, and
    its other keys within ten minutes. A technician who was asked can still read the job, and a late answer is refused
    as before.
    """
    _, _, loser, job = await create_won_job(engine)
    waves = await job_history.waves(engine, OPS_CALLER, job)
    assert [b'"t1"' in wave and b'"t2"' in wave for wave in waves] == [True]
    declined = await refusal_of(engine, job, step(loser, "decline"))
    await archiver.run_once(engine)
    assert await job_history.waves(engine, OPS_CALLER, job) == waves
    assert await refusal_of(engine, job, step(loser, "decline")) == declined == "cancelled"
    assert job_document.decode_job(await job_queries.read_job(engine, loser, job)).customer is None
    with pytest.raises(NotFound):
        await job_queries.read_job(engine, await people.technician(engine, "t3", await people.service(engine)), job)
    redis = engine.store.redis
    left = {name.decode(): await redis.pttl(name) async for name in redis.scan_iter(f"*:job:{job}*")}
    assert left.keys() == {keys.job(DEFAULT_ZONE, job)}
    assert 0 < left[keys.job(DEFAULT_ZONE, job)] <= TEN_MINUTES_MS
    await redis.delete(keys.job(DEFAULT_ZONE, job))
    assert await job_history.waves(engine, OPS_CALLER, job) == waves
    with pytest.raises(NotFound):
        await job_history.waves(engine, OPS_CALLER, JobId(job[:-1] + ("0" if job[-1] != "0" else "1")))
