"""Tests of waves: who receives an offer, who is excluded and why, how waves widen, and what late joiners receive."""

from __future__ import annotations

import orjson
import pytest

from engine.domain import job_history, jobs, offers, waves
from engine.domain.jobs import CommandInput
from engine.errors import NotOffered, Unavailable
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Coordinates, Fix
from engine.types import DEFAULT_ZONE, JobId, TechnicianId, UserId
from engine.workers import scheduler
from tests.support import event_log, live_accounts, people
from tests.support.clock import advance

LATITUDE_DEGREES_PER_M = 1 / 111_195  # degrees of latitude for one metre, on the sphere that Redis computes with


def metres_north(metres: float) -> Coordinates:
    """Return the position that is `metres` north of the jobs' position."""
    return Coordinates(people.HERE.lat + metres * LATITUDE_DEGREES_PER_M, people.HERE.lon)


async def offered_technicians(engine: Engine, job: JobId) -> list[str]:
    """Return the technicians who have an offer of the job in any status, sorted."""
    return sorted(k.decode() for k in await engine.store.redis.hkeys(keys.job_offers(DEFAULT_ZONE, job)))


async def test_a_wave_records_why_a_technician_is_excluded(engine: Engine) -> None:
    """A technician who is offline, at capacity, without a recent position, without the service or too far away receives
    no offer; the wave records `stale_position` for the technician without a recent position.
    """
    service, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    await people.technician(engine, "fit", service, at=metres_north(100))
    await people.technician(engine, "elsewhere", other, at=metres_north(100))
    await people.technician(engine, "offline", service, at=None)
    await people.technician(engine, "far", service, at=metres_north(3200))
    full = await people.technician(engine, "full", service, at=metres_north(50))
    first = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, full, first)
    await people.technician(engine, "stale", service, at=metres_north(100))
    await advance(engine, 130)
    await live.store_fixes(
        engine, people.technician_without_account("fit"), "fit", [Fix(lat=metres_north(120).lat, lon=people.HERE.lon)]
    )
    job = await people.offered_job(engine, carla, service)
    assert await offered_technicians(engine, job) == ["fit"]
    [wave] = [orjson.loads(w) for w in await job_history.waves(engine, people.ADMIN, job)]
    assert wave["in"] == {"count": 1, "technicians": ["fit"]}
    assert wave["out"] == {"stale_position": {"count": 1, "technicians": ["stale"]}}


async def test_waves_widen_from_the_nearest_to_the_whole_zone(engine: Engine) -> None:
    """The waves offer the job to ten technicians within 3 km, then within 7 km, then within 15 km, then in the whole
    zone, and to nobody twice while their offer is open.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    for i in range(12):
        await people.technician(engine, f"a{i:02}", service, at=metres_north(100 + 100 * i))
    for name, metres in (("b", 5_000), ("c", 12_000), ("d", 40_000)):
        await people.technician(engine, name, service, at=metres_north(metres))
    job = await people.offered_job(engine, carla, service)
    assert await offered_technicians(engine, job) == [f"a{i:02}" for i in range(10)]
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 2)
    assert await offered_technicians(engine, job) == [*(f"a{i:02}" for i in range(12)), "b"]
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 3)
    assert (await offered_technicians(engine, job))[-1] == "c"
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 4)
    assert (await offered_technicians(engine, job))[-1] == "d"
    payloads = [event_log.payload(e) for e in await event_log.events(engine, "job.searching", job)]
    assert [(t["wave"], t["asked"], t["radius_m"]) for t in payloads] == [
        (1, 10, 3000),
        (2, 13, 7000),
        (3, 14, 15000),
        (4, 15, None),
    ]


async def test_a_wave_opened_twice_opens_once(engine: Engine) -> None:
    """A wave that two schedulers open is opened once: the second finds that the wave is no longer the next one."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    assert len(await event_log.events(engine, "offer.created", job)) == 1
    assert len(await event_log.events(engine, "job.searching", job)) == 1


async def test_a_runner_that_dies_between_taking_and_doing_loses_nothing(engine: Engine) -> None:
    """A scheduled task that was taken and not done is due again after ten seconds."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "t1", service)
    job = people.id_of(await people.job(engine, carla, service))
    names = {
        "meta": keys.zone_meta(DEFAULT_ZONE),
        "due": keys.due_tasks(DEFAULT_ZONE),
        "seen": keys.last_seen(DEFAULT_ZONE),
    }
    args = {"limit": 32, "lease_ms": 90_000}
    reply = await engine.store.run(DEFAULT_ZONE, "due_take", keys=names, args=args)
    assert f"wave:{job}:1".encode() in reply.values
    second_reply = await engine.store.run(DEFAULT_ZONE, "due_take", keys=names, args=args)
    assert not [e for e in second_reply.values[1:] if job.encode() in e]
    await advance(engine, 10.1)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    assert await offered_technicians(engine, job) == ["t1"]


async def test_coming_online_starts_a_search_for_open_jobs(engine: Engine) -> None:
    """A technician who comes online within the current wave's radius receives an offer at once; one outside the radius
    receives none.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    await people.technician(engine, "near", service, at=metres_north(500))
    await people.technician(engine, "far", service, at=metres_north(5_000))
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    assert await offered_technicians(engine, job) == ["near"]
    [offer] = (await offers.find_open_offers(engine, people.technician_without_account("near"))).items
    assert orjson.loads(offer)["job"]["id"] == job


async def test_moving_and_completing_a_job_start_a_search_for_open_jobs(engine: Engine) -> None:
    """A technician who moves at least 250 m, and one who completes a job, receive offers of open jobs within the wave's
    radius.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    mover = await people.technician(engine, "mover", service, at=metres_north(5_000))
    busy = await people.technician(engine, "busy", service, at=metres_north(100))
    first = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, busy, first)
    job = await people.offered_job(engine, carla, service)
    assert await offered_technicians(engine, job) == []
    await advance(engine, 1)
    await live.store_fixes(engine, mover, "mover", [Fix(lat=metres_north(900).lat, lon=people.HERE.lon)])
    for command in ("depart", "arrive", "start", "complete"):
        await jobs.run_command(engine, busy, first, CommandInput(command=command))
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    assert await offered_technicians(engine, job) == ["busy", "mover"]


async def test_an_expired_offer_is_repeated_and_a_declined_one_is_not(engine: Engine) -> None:
    """The whole zone is searched each minute: a technician who declined receives no new offer, one whose offer expired
    receives one.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    no, silent = await people.technician(engine, "no", service), await people.technician(engine, "silent", service)
    job = await people.offered_job(engine, carla, service)
    await offers.decline_offer(engine, no, job, reason="too far")
    for number in (2, 3, 4):
        await scheduler.open_wave(engine, DEFAULT_ZONE, job, number)
    await advance(engine, 61)
    await live.store_fixes(engine, silent, "silent", [Fix(lat=people.HERE.lat, lon=people.HERE.lon)])
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    row = await engine.store.redis.hgetall(keys.job_offers(DEFAULT_ZONE, job))
    assert row[b"no"].startswith(b"rejected") and row[b"silent"].startswith(b"sent ")
    assert (await jobs.claim(engine, silent, job)).message == "Job accepted"
    with pytest.raises(NotOffered):
        await offers.decline_offer(
            engine, people.technician_without_account("stranger"), await people.offered_job(engine, carla, service)
        )


async def test_the_last_decline_opens_the_next_wave(engine: Engine) -> None:
    """When the last open offer is declined, the next wave opens at once."""
    service, carla = await people.service(engine), await people.customer(engine)
    near = await people.technician(engine, "near", service, at=metres_north(100))
    await people.technician(engine, "far", service, at=metres_north(5_000))
    job = await people.offered_job(engine, carla, service)
    await offers.decline_offer(engine, near, job)
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    assert await offered_technicians(engine, job) == ["far", "near"]


@pytest.mark.usefixtures("records_by_hand")
async def test_a_crowd_that_declined_does_not_hide_technicians_behind_it(engine: Engine) -> None:
    """A wave finds the technicians behind a crowd of 600 who all declined, in several runs of the script."""
    service, carla = await people.service(engine), await people.customer(engine)
    job = people.id_of(await people.job(engine, carla, service))
    crowd = [f"c{i}" for i in range(600)]
    for name in crowd:
        await people.technician(engine, name, service, at=metres_north(20))
    await engine.store.redis.hset(keys.job_offers(DEFAULT_ZONE, job), mapping=dict.fromkeys(crowd, "rejected 1 0 0 20"))
    await people.technician(engine, "beyond", service, at=metres_north(400))
    for _ in range(40):
        offer_count = await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
        if offer_count.values and offer_count.values[1] != b"1":
            break
    assert "beyond" in await offered_technicians(engine, job)


async def test_going_offline_withdraws_open_offers(engine: Engine) -> None:
    """A technician who goes offline receives `offer.closed` with the reason `withdrawn`, and the next wave opens at
    once. Back online they receive an offer again, because a withdrawn offer is no answer.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    await people.technician(engine, "t2", service, at=metres_north(5_000))
    job = await people.offered_job(engine, carla, service)
    await live.set_availability(engine, tom, "t1", online=False)
    with pytest.raises(NotOffered):
        await jobs.claim(engine, tom, job)
    [closed] = await event_log.events(engine, "offer.closed", job)
    assert closed.to == ("user:t1",) and event_log.payload(closed)["reason"] == "withdrawn"
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    assert "t2" in await offered_technicians(engine, job)
    await live.set_availability(engine, tom, "t1", online=True, position=people.HERE)
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    assert (await jobs.claim(engine, tom, job)).message == "Job accepted"


async def test_a_technician_who_is_gone_goes_offline_by_lease(engine: Engine) -> None:
    """A technician without a sign of life for the length of the lease goes offline with the reason `lease`; one with a
    renewed lease stays online.
    """
    service = await people.service(engine)
    await people.technician(engine, "gone", service)
    await people.technician(engine, "here", service)
    await advance(engine, 80)
    await live.renew_leases(engine, DEFAULT_ZONE, ["here"])
    await advance(engine, 11)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    supply = await engine.store.redis.zrange(keys.technician_supply(DEFAULT_ZONE, service), 0, -1)
    assert supply == [b"here"]
    payloads = [event_log.payload(e) for e in await event_log.events(engine, "technician.status")]
    assert payloads[-1] == {"technician": {"id": "gone"}, "online": False, "reason": "lease"}


async def test_a_pause_takes_nobody_offline_and_ends_nothing(engine: Engine) -> None:
    """After a pause of twenty minutes no lease, offer or job ends within one lease of the end of the pause."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    await advance(engine, 1)
    meta = keys.zone_meta(DEFAULT_ZONE)
    await engine.store.redis.hincrby(meta, "skew", 1_200_000)
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
    assert await engine.store.redis.zscore(keys.last_seen(DEFAULT_ZONE), "t1") is not None
    assert not await event_log.events(engine, "job.expired", job)
    assert not await event_log.events(engine, "offer.closed", job)
    assert (await jobs.claim(engine, tom, job)).message == "Job accepted"
    tech = TechnicianId(UserId("t1"))
    assert await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, tech), "online") == b"1"


async def test_a_job_that_nobody_claims_expires_after_its_lifetime(engine: Engine) -> None:
    """A job that nobody claims expires once, after its lifetime; `job.expired` goes to the customer, to ops and to the
    watchers of the job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    await advance(engine, 899)
    await live.renew_leases(engine, DEFAULT_ZONE, ["t1"])
    await advance(engine, 2)
    for _ in range(5):
        await scheduler.run_once(engine, DEFAULT_ZONE)
    [expired] = await event_log.events(engine, "job.expired", job)
    assert set(expired.to) == {f"user:{carla.id}", "role:ops", f"job:{job}"}
    assert event_log.payload(expired)["job"]["status"] == "expired"
    assert await engine.store.redis.zcard(keys.job_demand(DEFAULT_ZONE, service)) == 0


async def test_the_whole_zone_receives_offers_in_batches_of_256(engine: Engine) -> None:
    """After the declared waves every eligible technician receives an offer, 256 in each run of the script. At most 500
    offers are open at once, and the next follow as those end. No event has more than 64 recipients.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    for i in range(600):
        await people.technician(engine, f"t{i:03}", service, at=metres_north(20_000 + 50 * i))
    job = people.id_of(await people.job(engine, carla, service))
    for number in (1, 2, 3):
        await scheduler.open_wave(engine, DEFAULT_ZONE, job, number)
    turns = 0
    while (await scheduler.open_wave(engine, DEFAULT_ZONE, job, 4)).values[1] == b"1":
        turns += 1
    assert len(await offered_technicians(engine, job)) in (499, 500) and turns >= 2
    await advance(engine, 61)
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        assert await _count_open_offers(engine, job) <= 500
    assert len(await offered_technicians(engine, job)) == 600
    assert max(len(e.to) for e in await event_log.events(engine, "offer.created", job)) == 64


async def _count_open_offers(engine: Engine, job: JobId) -> int:
    """Return the number of the job's offers with the status `sent`."""
    values = await engine.store.redis.hvals(keys.job_offers(DEFAULT_ZONE, job))
    return sum(value.startswith(b"sent ") for value in values)


async def test_a_suspended_customers_job_is_held_back(engine: Engine) -> None:
    """While the customer is suspended, a wave is refused with `unavailable` and makes no offer; after the reinstatement
    the same wave opens.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "t1", service)
    job = people.id_of(await people.job(engine, carla, service))
    await live_accounts.put_account(engine, carla.id, "customer", version=8, active=False)
    with pytest.raises(Unavailable):
        await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    with pytest.raises(Unavailable):  # the same holds at the end of a head start
        await waves.open_offers(engine, DEFAULT_ZONE, f"opens:{job}:1:5", job, "1", "5")
    assert await event_log.events(engine, "offer.created", job) == []
    await live_accounts.put_account(engine, carla.id, "customer", version=9)
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    assert len(await event_log.events(engine, "offer.created", job)) == 1
