"""Tests of a job with many open offers: when its search ends, a scheduled task closes the offers afterwards."""

from __future__ import annotations

import asyncio

import pytest

from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import archiver, scheduler, wake
from tests.support import event_log, people


async def offer_to_many(engine: Engine, count: int) -> tuple[Principal, Principal, JobId]:
    """Return a customer, a technician with an offer, and a job that is offered to `count` others as well."""
    service, customer = await people.service(engine), await people.customer(engine)
    job = people.id_of(await people.job(engine, customer, service))
    technician = await people.technician(engine, "winner", service)
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    others = dict.fromkeys(loser_names(count), "sent 1 0 99999999999999 20")
    await engine.store.redis.hset(keys.job_offers(DEFAULT_ZONE, job), mapping=others)
    return customer, technician, job


def loser_names(count: int) -> list[str]:
    """Return the names of `count` technicians who do not get the job."""
    return [f"loser{i:03}" for i in range(count)]


async def closed_audiences(engine: Engine, job: JobId, reason: str) -> list[list[str]]:
    """Return the recipients of each `offer.closed` of the job, and assert that all have this reason."""
    closed = await event_log.events(engine, "offer.closed", job)
    assert {event_log.payload(event)["reason"] for event in closed} <= {reason}
    return [sorted(event.to) for event in closed]


async def run_due_tasks(engine: Engine) -> None:
    """Run the tasks that are due now."""
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass


@pytest.mark.usefixtures("records_by_hand")
async def test_few_offers_are_closed_by_the_claim_itself(engine: Engine) -> None:
    """A claim of a job with 64 offers closes the other offers in the same step."""
    _, winner, job = await offer_to_many(engine, 63)
    await jobs.claim(engine, winner, job)
    assert await closed_audiences(engine, job, "taken") == [[f"user:{name}" for name in loser_names(63)]]
    [accepted] = await event_log.events(engine, "job.accepted", job)
    assert "offers_closing" not in event_log.payload(accepted)


@pytest.mark.usefixtures("records_by_hand")
async def test_many_offers_are_closed_by_a_task(engine: Engine) -> None:
    """After a claim of a job with 151 offers the task `close` closes the offer of each other technician once, in events
    of at most 64 recipients. A second run of the task appends nothing.
    """
    _, winner, job = await offer_to_many(engine, 150)
    await jobs.claim(engine, winner, job)
    assert await closed_audiences(engine, job, "taken") == []
    [accepted] = await event_log.events(engine, "job.accepted", job)
    assert event_log.payload(accepted)["offers_closing"] is True
    await run_due_tasks(engine)
    audiences = await closed_audiences(engine, job, "taken")
    assert [len(to) for to in audiences] == [64, 64, 22]
    assert sorted(who for to in audiences for who in to) == [f"user:{name}" for name in loser_names(150)]
    await engine.store.redis.zadd(keys.due_tasks(DEFAULT_ZONE), {f"close:{job}": 1})
    await run_due_tasks(engine)
    assert len(await event_log.events(engine, "offer.closed", job)) == 3


@pytest.mark.parametrize("command", ["unassign", "cancel"])
@pytest.mark.usefixtures("records_by_hand")
async def test_a_later_step_closes_the_offers_first(engine: Engine, command: str) -> None:
    """If the job is unassigned or cancelled before the task runs, that step first informs the other technicians that
    their offers were taken. The task then appends nothing.
    """
    customer, winner, job = await offer_to_many(engine, 100)
    await jobs.claim(engine, winner, job)
    await jobs.run_command(engine, winner if command == "unassign" else customer, job, CommandInput(command=command))
    audiences = await closed_audiences(engine, job, "taken")
    assert sorted(who for to in audiences for who in to) == [f"user:{name}" for name in loser_names(100)]
    await run_due_tasks(engine)
    assert await closed_audiences(engine, job, "taken") == audiences


@pytest.mark.usefixtures("records_by_hand")
async def test_a_cancelled_search_with_many_offers_closes_them_all(engine: Engine) -> None:
    """After a cancel of a job with 101 offers the task closes all of them with the reason `cancelled`."""
    customer, winner, job = await offer_to_many(engine, 100)
    await jobs.run_command(engine, customer, job, CommandInput(command="cancel"))
    assert await closed_audiences(engine, job, "cancelled") == []
    await run_due_tasks(engine)
    audiences = await closed_audiences(engine, job, "cancelled")
    expected = [f"user:{name}" for name in [*loser_names(100), winner.id]]
    assert sorted(who for to in audiences for who in to) == sorted(expected)


async def test_the_task_of_a_forgotten_job_is_removed(engine: Engine) -> None:
    """The task of a job that Redis no longer has is removed without an event."""
    due = keys.due_tasks(DEFAULT_ZONE)
    await engine.store.redis.zadd(due, {"close:job_main_01ABCDEFGHJKMNPQRSTVWXYZ00": 1})
    await run_due_tasks(engine)
    assert await engine.store.redis.zcard(due) == 0


@pytest.mark.usefixtures("records_by_hand")
async def test_a_claim_of_many_offers_wakes_the_scheduler(engine: Engine) -> None:
    """The event of such a claim wakes the scheduler of any process, so that the other technicians are notified
    immediately.
    """
    _, winner, job = await offer_to_many(engine, 100)
    await run_due_tasks(engine)
    woken = asyncio.Event()
    watcher = asyncio.create_task(wake.wake_schedulers(engine, [DEFAULT_ZONE], {DEFAULT_ZONE: woken}))
    try:
        await asyncio.sleep(0.1)
        woken.clear()
        await jobs.claim(engine, winner, job)
        await asyncio.wait_for(woken.wait(), timeout=5)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


@pytest.mark.usefixtures("records_by_hand")
async def test_a_job_archived_before_the_task_keeps_its_offers(engine: Engine) -> None:
    """If a cancelled job is archived before the task runs, its offers stay in Redis until then, and each technician is
    informed that their offer is closed.
    """
    customer, _, job = await offer_to_many(engine, 150)
    await jobs.run_command(engine, customer, job, CommandInput(command="cancel"))
    assert await closed_audiences(engine, job, "cancelled") == []
    await archiver.run_once(engine)
    assert await engine.store.redis.pttl(keys.job_offers(DEFAULT_ZONE, job)) > 0
    await run_due_tasks(engine)
    told = await closed_audiences(engine, job, "cancelled")
    assert sorted(name for audience in told for name in audience) == sorted(
        f"user:{name}" for name in (*loser_names(150), "winner")
    )
