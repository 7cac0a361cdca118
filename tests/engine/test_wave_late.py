"""Tests of late joiners, of acceptances within the grace time, and of scheduled tasks that wait behind a burst of other
tasks.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.blueprint.schema import Wave
from engine.domain import jobs, waves
from engine.errors import Expired
from engine.identity import accounts
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE, ServiceId, TechnicianId
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import metres_north, offer_audiences, offered_technicians, run_due_tasks, set_dispatch

LEASE_MS = 90_000


async def run_all_waves(engine: Engine) -> None:
    """Advance the clock to the time of each wave that the default blueprint declares, and run the due tasks each time.
    The last time, the engine searches the whole zone.
    """
    for _ in engine.blueprints.default.dispatch.waves:
        await advance(engine, 10.1)
        await run_due_tasks(engine)


async def take_due_tasks(engine: Engine) -> list[str]:
    """Take the scheduled tasks that are due, at most 32, as a runner does, and return their entries."""
    names = {
        "meta": keys.zone_meta(DEFAULT_ZONE),
        "due": keys.due_tasks(DEFAULT_ZONE),
        "seen": keys.last_seen(DEFAULT_ZONE),
    }
    args = {"limit": 32, "lease_ms": LEASE_MS}
    reply: Any = await engine.store.run(DEFAULT_ZONE, "due_take", keys=names, args=args)
    return [entry.decode() for entry in reply.values[1:]]


async def test_a_late_joiner_near_by_hides_no_job_from_one_far_away(engine: Engine) -> None:
    """After a technician near a job was offered it because they came online, one outside all radii still is."""
    service, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    await people.technician(engine, "early", service, at=metres_north(40_000))
    await run_all_waves(engine)
    for name, metres in (("near", 10), ("far", 50_000)):
        await people.technician(engine, name, service, at=metres_north(metres))
        await run_due_tasks(engine)
    assert {"near", "far"} <= set(await offered_technicians(engine, job))


async def test_a_distant_late_joiner_is_offered_jobs_of_the_whole_zone(engine: Engine) -> None:
    """A technician who comes online beyond every declared radius receives no offer while the waves widen, and receives
    one at once when the whole zone is searched.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    await people.technician(engine, "early", service, at=metres_north(40_000))
    await run_due_tasks(engine)
    assert await offered_technicians(engine, job) == []
    await live.set_availability(engine, people.technician_without_account("early"), "early", online=False)
    await run_all_waves(engine)
    await people.technician(engine, "far", service, at=metres_north(50_000))
    await run_due_tasks(engine)
    assert await offered_technicians(engine, job) == ["far"]


async def test_a_claimed_job_is_removed_from_the_index_of_the_whole_zone(engine: Engine) -> None:
    """A search for a late joiner finds a claimed job in the index of the whole zone, makes no offer of it, and removes
    it from the index.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "one", service, at=metres_north(100))
    job = await people.offered_job(engine, carla, service)
    await run_all_waves(engine)
    assert await engine.store.redis.zcard(keys.wide_jobs(DEFAULT_ZONE, service)) == 1
    await jobs.claim(engine, tom, job)
    await people.technician(engine, "far", service, at=metres_north(50_000))
    await run_due_tasks(engine)
    assert "far" not in await offered_technicians(engine, job)
    assert await engine.store.redis.zcard(keys.wide_jobs(DEFAULT_ZONE, service)) == 0


@pytest.mark.parametrize("waves", [(), (Wave(size=5, radius_m=0, interval_s=10),)])
async def test_without_a_radius_a_late_joiner_receives_an_offer(engine: Engine, waves: tuple[Wave, ...]) -> None:
    """With blueprints that declare no wave, or one wave over the whole zone, a late joiner receives an offer at any
    distance.
    """
    for blueprint in list(engine.blueprints.by_name.values()):
        if blueprint is not engine.blueprints.default:
            del engine.blueprints.by_name[blueprint.name]
    set_dispatch(engine, waves=waves)
    service, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    await people.technician(engine, "late", service, at=metres_north(60_000))
    await run_due_tasks(engine)
    assert await offered_technicians(engine, job) == ["late"]


async def pass_time_online(engine: Engine, service: ServiceId, seconds: float) -> None:
    """Let `seconds` pass while the technician `one` sends signs of life and fixes."""
    for _ in range(int(seconds // 50)):
        await advance(engine, 50)
        await live.renew_leases(engine, DEFAULT_ZONE, ["one"])
        fix = Fix(lat=people.HERE.lat, lon=people.HERE.lon)
        await live.store_fixes(engine, people.technician_without_account("one"), "one", [fix])
    await advance(engine, seconds % 50)


@pytest.mark.parametrize(("after_s", "is_late"), [(64, False), (66, True)])
async def test_an_acceptance_within_the_grace_counts(engine: Engine, after_s: float, is_late: bool) -> None:
    """A claim at most 5 s after the end of the offer is accepted, and no `offer.closed` was sent before; a claim 6 s
    after the end is refused with `expired`.
    """
    set_dispatch(engine, grace_s=5.0)
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "one", service)
    job = await people.offered_job(engine, carla, service)
    await pass_time_online(engine, service, after_s)
    if is_late:
        with pytest.raises(Expired):
            await jobs.claim(engine, tom, job)
        await run_due_tasks(engine)
        assert len(await event_log.events(engine, "offer.closed", job)) == 1
    else:
        await run_due_tasks(engine)
        assert not await event_log.events(engine, "offer.closed", job)
        assert (await jobs.claim(engine, tom, job)).message == "Job accepted"


async def test_a_job_expires_after_its_grace_time(engine: Engine) -> None:
    """A job expires `grace_s` seconds after its lifetime, so that a claim sent at the last moment still counts."""
    set_dispatch(engine, grace_s=5.0, job_s=30.0)
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "one", service, capacity=2)
    won, lost = [await people.offered_job(engine, carla, service) for _ in range(2)]
    await pass_time_online(engine, service, 33)
    await run_due_tasks(engine)
    assert not await event_log.events(engine, "job.expired")
    assert (await jobs.claim(engine, tom, won)).message == "Job accepted"
    await pass_time_online(engine, service, 3)
    await run_due_tasks(engine)
    [expired] = await event_log.events(engine, "job.expired")
    assert event_log.payload(expired)["job"]["id"] == lost


async def test_each_offer_of_a_wave_ends_at_its_own_time(engine: Engine) -> None:
    """Each offer of a wave ends at its own time: `offer.closed` goes to the first technician while the later one can
    still claim.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "first", service, at=metres_north(100))
    job = await people.offered_job(engine, carla, service)
    await advance(engine, 8)
    await people.technician(engine, "second", service, at=metres_north(200))
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["first"], ["second"]]
    await advance(engine, 53)
    await live.renew_leases(engine, DEFAULT_ZONE, ["first", "second"])
    await run_due_tasks(engine)
    [closed] = await event_log.events(engine, "offer.closed", job)
    assert set(closed.to) == {"user:first"}


async def test_ops_receive_job_unfilled_once(engine: Engine) -> None:
    """Ops receive `job.unfilled` once, after the last declared wave: not before, and not again after later searches of
    the whole zone.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "one", service, at=metres_north(100))
    job = await people.offered_job(engine, carla, service)
    for _ in range(2):
        await advance(engine, 10.1)
        await run_due_tasks(engine)
        assert not await event_log.events(engine, "job.unfilled", job)
    for seconds in (10.1, 60.1, 60.1):
        await advance(engine, seconds)
        await run_due_tasks(engine)
    [event] = await event_log.events(engine, "job.unfilled", job)
    data = event_log.payload(event)
    assert "role:ops" in event.to and data["job"]["id"] == job and data["step"] == "broadcast"
    began = event_log.payload((await event_log.events(engine, "job.created", job))[0])["job"]["created_at"]
    assert data["since"] >= began


@pytest.mark.parametrize("burst", [500, 5_000])
async def test_a_burst_of_tasks_of_one_kind_does_not_delay_another_kind(engine: Engine, burst: int) -> None:
    """A task that became due after thousands of `match` tasks is taken by the first `due_take`, and a task that became
    due in the middle of them after a bounded number of calls.
    """
    crowd = {f"match:x{n}": n for n in range(burst)}
    due = keys.due_tasks(DEFAULT_ZONE)
    await engine.store.redis.zadd(due, {**crowd, "expire:amid": burst // 2 - 0.5, "offers:last:1": burst})
    first = await take_due_tasks(engine)
    assert "offers:last:1" in first and len(first) == 32
    calls = 1
    while "expire:amid" not in first:
        first, calls = await take_due_tasks(engine), calls + 1
        assert calls <= 1 + burst / 96
    assert await engine.store.redis.zcount(due, "-inf", burst) == burst + 2 - 32 * calls


async def test_a_task_of_an_unknown_kind_is_postponed(engine: Engine) -> None:
    """A task of an unknown kind, as an older or newer engine may leave, is taken, and is due again later instead of at
    once.
    """
    await engine.store.redis.zadd(keys.due_tasks(DEFAULT_ZONE), {"riddle:x": 1})
    assert await take_due_tasks(engine) == ["riddle:x"]
    assert await take_due_tasks(engine) == []
    assert await scheduler.run_once(engine, DEFAULT_ZONE) > 0


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.usefixtures("records_by_hand")
async def test_a_suspended_customers_job_is_offered_to_no_late_joiner(engine: Engine, lost: bool) -> None:
    """A late joiner receives no offer of a suspended customer's job, also after Redis lost the customer's records;
    other customers' jobs are offered. After the reinstatement the job is offered too.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    beside = await people.offered_job(engine, await people.customer(engine), service)
    await accounts.suspend_user(engine, people.ADMIN, carla.id, reason="fraud")
    if lost:
        account_keys = [key async for key in engine.store.redis.scan_iter(f"*{carla.id}*")]
        assert keys.account(carla.id).encode() in account_keys
        await engine.store.redis.delete(*account_keys)
    who = await people.technician(engine, "late", service)
    await waves.offer_open_jobs(engine, DEFAULT_ZONE, "match:late", TechnicianId(who.id))
    assert (await offered_technicians(engine, job), await offered_technicians(engine, beside)) == ([], ["late"])
    await accounts.reinstate_user(engine, people.ADMIN, carla.id)
    await waves.offer_open_jobs(engine, DEFAULT_ZONE, "match:late", TechnicianId(who.id))
    assert await offered_technicians(engine, job) == ["late"]
