"""What comes late: joiners from far away, acceptances within the grace, and due work behind a burst of other work."""

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
from engine.types import DEFAULT_ZONE, JobId, ServiceId, TechnicianId
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import metres_north, offer_audiences, offered_technicians, run_due_tasks, set_dispatch

LEASE_MS = 90_000


async def through_the_waves(engine: Engine, job: JobId) -> None:
    """Open every declared wave and the first look over the whole zone, each at its time."""
    for _ in engine.blueprints.default.dispatch.waves:
        await advance(engine, 10.1)
        await run_due_tasks(engine)


async def taken(engine: Engine) -> list[str]:
    """What due work a runner is given."""
    names = {
        "meta": keys.zone_meta(DEFAULT_ZONE),
        "due": keys.due_tasks(DEFAULT_ZONE),
        "seen": keys.last_seen(DEFAULT_ZONE),
    }
    args = {"limit": 32, "lease_ms": LEASE_MS}
    reply: Any = await engine.store.run(DEFAULT_ZONE, "due_take", keys=names, args=args)
    return [entry.decode() for entry in reply.rest[1:]]


async def test_who_comes_online_far_away_is_offered_what_is_sought_in_the_whole_zone(engine: Engine) -> None:
    """Beyond every declared radius he is not asked while waves widen; once the zone is asked he is, at once."""
    serves, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered(engine, carla, serves)
    await people.technician(engine, "early", serves, at=metres_north(40_000))
    await run_due_tasks(engine)
    assert await offered_technicians(engine, job) == []
    await live.set_availability(engine, people.hot_technician("early"), "early", online=False)
    await through_the_waves(engine, job)
    await people.technician(engine, "far", serves, at=metres_north(50_000))
    await run_due_tasks(engine)
    assert await offered_technicians(engine, job) == ["far"]


async def test_a_job_that_is_over_leaves_the_index_of_the_whole_zone(engine: Engine) -> None:
    """One who comes late finds the taken job there, is not offered it, and takes it out."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "one", serves, at=metres_north(100))
    job = await people.offered(engine, carla, serves)
    await through_the_waves(engine, job)
    assert await engine.store.redis.zcard(keys.wide_jobs(DEFAULT_ZONE, serves)) == 1
    await jobs.claim(engine, one, job)
    await people.technician(engine, "far", serves, at=metres_north(50_000))
    await run_due_tasks(engine)
    assert "far" not in await offered_technicians(engine, job)
    assert await engine.store.redis.zcard(keys.wide_jobs(DEFAULT_ZONE, serves)) == 0


@pytest.mark.parametrize("waves", [(), (Wave(size=5, radius_m=0, interval_s=10),)])
async def test_without_any_radius_who_comes_late_is_served_too(engine: Engine, waves: tuple[Wave, ...]) -> None:
    """Blueprints that declare no wave, or one over the whole zone, leave nobody out who comes online."""
    for blueprint in list(engine.blueprints.by_name.values()):
        if blueprint is not engine.blueprints.default:
            del engine.blueprints.by_name[blueprint.name]
    set_dispatch(engine, waves=waves)
    serves, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered(engine, carla, serves)
    await people.technician(engine, "late", serves, at=metres_north(60_000))
    await run_due_tasks(engine)
    assert await offered_technicians(engine, job) == ["late"]


async def online(engine: Engine, serves: ServiceId, seconds: float) -> None:
    """Let time pass for one technician who gives signs of life."""
    for _ in range(int(seconds // 50)):
        await advance(engine, 50)
        await live.renew_leases(engine, DEFAULT_ZONE, ["one"])
        fix = Fix(lat=people.HERE.lat, lon=people.HERE.lon)
        await live.store_fixes(engine, people.hot_technician("one"), "one", [fix])
    await advance(engine, seconds % 50)


@pytest.mark.parametrize(("after_s", "late"), [(64, False), (66, True)])
async def test_an_acceptance_within_the_grace_counts(engine: Engine, after_s: float, late: bool) -> None:
    """Five seconds after an offer's end it is still a yes, and nobody was told otherwise; six after, it is expired."""
    set_dispatch(engine, grace_s=5.0)
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "one", serves)
    job = await people.offered(engine, carla, serves)
    await online(engine, serves, after_s)
    if late:
        with pytest.raises(Expired):
            await jobs.claim(engine, one, job)
        await run_due_tasks(engine)
        assert len(await event_log.events(engine, "offer.closed", job)) == 1
    else:
        await run_due_tasks(engine)
        assert not await event_log.events(engine, "offer.closed", job)
        assert (await jobs.claim(engine, one, job)).message == "Job accepted"


async def test_a_job_ends_after_its_grace_and_not_before(engine: Engine) -> None:
    """The end of a job's life waits for acceptances that are on their way."""
    set_dispatch(engine, grace_s=5.0, job_s=30.0)
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "one", serves, capacity=2)
    won, lost = [await people.offered(engine, carla, serves) for _ in range(2)]
    await online(engine, serves, 33)
    await run_due_tasks(engine)
    assert not await event_log.events(engine, "job.expired")
    assert (await jobs.claim(engine, one, won)).message == "Job accepted"
    await online(engine, serves, 3)
    await run_due_tasks(engine)
    [expired] = await event_log.events(engine, "job.expired")
    assert event_log.payload(expired)["job"]["id"] == lost


async def test_offers_of_one_wave_end_one_by_one(engine: Engine) -> None:
    """Who was asked later has his time too, and who was asked first is told when his is over."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "first", serves, at=metres_north(100))
    job = await people.offered(engine, carla, serves)
    await advance(engine, 8)
    await people.technician(engine, "second", serves, at=metres_north(200))
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["first"], ["second"]]
    await advance(engine, 53)
    await live.renew_leases(engine, DEFAULT_ZONE, ["first", "second"])
    await run_due_tasks(engine)
    [closed] = await event_log.events(engine, "offer.closed", job)
    assert set(closed.to) == {"user:first"}


async def test_ops_hear_once_that_nobody_took_it(engine: Engine) -> None:
    """After the last declared wave, not before, and not with every look over the zone that follows."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "one", serves, at=metres_north(100))
    job = await people.offered(engine, carla, serves)
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
async def test_a_burst_of_one_class_does_not_hide_another(engine: Engine, burst: int) -> None:
    """Work that fell due after thousands of late joiners is given out at the first look, what lies amid them soon."""
    crowd = {f"match:x{n}": n for n in range(burst)}
    due = keys.due_tasks(DEFAULT_ZONE)
    await engine.store.redis.zadd(due, {**crowd, "expire:amid": burst // 2 - 0.5, "offers:last:1": burst})
    first = await taken(engine)
    assert "offers:last:1" in first and len(first) == 32
    looks = 1
    while "expire:amid" not in first:
        first, looks = await taken(engine), looks + 1
        assert looks <= 1 + burst / 96
    assert await engine.store.redis.zcount(due, "-inf", burst) == burst + 2 - 32 * looks


async def test_a_class_that_nobody_knows_does_not_stand_still(engine: Engine) -> None:
    """An entry of an older or newer engine is given out too, and comes back later instead of at once."""
    await engine.store.redis.zadd(keys.due_tasks(DEFAULT_ZONE), {"riddle:x": 1})
    assert await taken(engine) == ["riddle:x"]
    assert await taken(engine) == []
    assert await scheduler.run_once(engine, DEFAULT_ZONE) > 0


@pytest.mark.parametrize("lost", [False, True])
async def test_a_suspended_customers_job_is_offered_to_no_late_joiner(engine: Engine, lost: bool) -> None:
    """Who comes online meanwhile is not offered it, also where Redis lost all that it knew of the customer; the jobs of
    others beside it are offered, and once the customer is reinstated so is theirs.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered(engine, carla, serves)
    beside = await people.offered(engine, await people.customer(engine), serves)
    await accounts.suspend_user(engine, people.ADMIN, carla.id, reason="fraud")
    if lost:
        gone = [key async for key in engine.store.redis.scan_iter(f"*{carla.id}*")]
        assert keys.account(carla.id).encode() in gone
        await engine.store.redis.delete(*gone)
    who = await people.technician(engine, "late", serves)
    await waves.match_technician(engine, DEFAULT_ZONE, "match:late", TechnicianId(who.id))
    assert (await offered_technicians(engine, job), await offered_technicians(engine, beside)) == ([], ["late"])
    await accounts.reinstate_user(engine, people.ADMIN, carla.id)
    await waves.match_technician(engine, DEFAULT_ZONE, "match:late", TechnicianId(who.id))
    assert await offered_technicians(engine, job) == ["late"]
