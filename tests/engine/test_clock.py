"""The zone's clock never goes back and never stops. While no process runs, no lease, offer or job ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.clock import now_ms
from engine.domain import jobs
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE, JobId, TechnicianId
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance, advance_unobserved

ZONE = DEFAULT_ZONE
META_KEY = keys.zone_meta(ZONE)
HOUR_MS = 3_600_000


async def meta_values(engine: Engine, *names: str) -> list[int]:
    """Return fields of the zone's `meta` as numbers; 0 if a field is missing."""
    values: Any = await engine.store.redis.hmget(META_KEY, list(names))
    return [int(value or 0) for value in values]


async def run_scheduler(engine: Engine) -> int:
    """Run the scheduler once and return the zone's time in ms, which it writes."""
    await scheduler.run_once(engine, ZONE)
    (now,) = await meta_values(engine, "now")
    return now


async def set_clock_back(engine: Engine, ms: int) -> None:
    """Set the clock of the Redis server back by ``ms`` milliseconds, as when a clock that was fast is corrected."""
    await engine.store.redis.hincrby(META_KEY, "skew", -ms)


async def run_due_tasks(engine: Engine) -> None:
    """Run all scheduled tasks that are due now."""
    for _ in range(20):
        if await scheduler.run_once(engine, ZONE) > 0:
            return


async def test_time_continues_after_a_fast_clock(engine: Engine) -> None:
    """When a clock that was an hour fast is corrected, the hour is added to `offset` once. The zone's time continues
    from its last value at the usual speed.
    """
    await advance(engine, HOUR_MS / 1000)
    before = await run_scheduler(engine)
    opened = await meta_values(engine, "opened_at")
    await set_clock_back(engine, HOUR_MS)
    first = await run_scheduler(engine)
    (offset,) = await meta_values(engine, "offset")
    assert before <= first < before + 1000
    assert HOUR_MS - 1000 < offset <= HOUR_MS
    await asyncio.sleep(0.03)
    assert await run_scheduler(engine) >= first + 30
    assert await meta_values(engine, "offset", "opened_at") == [offset, *opened]


async def test_waves_and_expiry_continue_after_a_fast_clock(engine: Engine) -> None:
    """After a fast clock is corrected, a fix is stored, and a job that is booked then is offered and
    expires as usual.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    await advance(engine, HOUR_MS / 1000)
    await live.renew_leases(engine, ZONE, [tom.id])
    await run_scheduler(engine)
    await set_clock_back(engine, HOUR_MS)
    await run_scheduler(engine)
    key = keys.technician(ZONE, TechnicianId(tom.id))
    fixed: Any = await engine.store.redis.hget(key, "fix_at")
    await live.store_fixes(engine, tom, tom.id, [Fix(lat=people.HERE.lat, lon=people.HERE.lon, at=now_ms())])
    again: Any = await engine.store.redis.hget(key, "fix_at")
    assert int(again) > int(fixed)
    job = people.id_of(await people.job(engine, carla, service))
    await run_due_tasks(engine)
    assert await event_log.events(engine, "offer.created", job)
    await advance(engine, 2 * 3600)
    await run_due_tasks(engine)
    assert await event_log.events(engine, "job.expired", job)


async def test_a_small_step_back_leaves_no_offset(engine: Engine) -> None:
    """When the clock goes back by 200 ms and forward again, five times, the zone's time never goes back and `offset`
    remains 0.
    """
    before = await run_scheduler(engine)
    for _ in range(5):
        await set_clock_back(engine, 200)
        assert await run_scheduler(engine) >= before
        await engine.store.redis.hincrby(META_KEY, "skew", 200)
    assert await meta_values(engine, "offset") == [0]


async def test_unobserved_time_removes_the_offset(engine: Engine) -> None:
    """After a pause of the whole zone that is longer than `offset` (the correction of a fast clock), the zone's time is
    the server's time again, and the grace period begins.
    """
    await advance(engine, HOUR_MS / 1000)
    await run_scheduler(engine)
    await set_clock_back(engine, HOUR_MS)
    before = await run_scheduler(engine)
    await advance_unobserved(engine, 1800)
    half = await run_scheduler(engine)
    offset, opened = await meta_values(engine, "offset", "opened_at")
    assert before <= half < before + 2000 and opened == half
    assert HOUR_MS / 2 - 2000 < offset <= HOUR_MS / 2
    await advance_unobserved(engine, 8 * 3600)
    opened_at = await run_scheduler(engine)
    assert await meta_values(engine, "offset", "opened_at") == [0, opened_at]
    assert opened_at > half + 7 * HOUR_MS


async def test_an_idle_scheduler_writes_the_time(engine: Engine) -> None:
    """Without due tasks the scheduler still runs at least once a second and writes the zone's time, so that only a real
    pause counts as a pause.
    """
    first = await run_scheduler(engine)
    await asyncio.sleep(0.01)
    assert await scheduler.run_once(engine, ZONE) <= 1.0
    (now,) = await meta_values(engine, "now")
    assert now >= first + 10


async def test_an_open_offer_can_be_claimed_after_a_clock_correction(engine: Engine) -> None:
    """An offer that was open before the clock was set back by an hour can be claimed afterwards."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    await set_clock_back(engine, HOUR_MS)
    assert (await jobs.claim(engine, tom, JobId(job))).message == "Job accepted"


@pytest.mark.parametrize("back_ms", [0, 1_500, HOUR_MS])
async def test_an_offset_survives_a_new_epoch(engine: Engine, back_ms: int) -> None:
    """When a zone opens in a new epoch, its time continues after the last time in its log, also if the clock was set
    back.
    """
    before = await run_scheduler(engine)
    await set_clock_back(engine, back_ms)
    await engine.store.redis.hset(META_KEY, "run_id", "gone")
    engine.store.zones[ZONE].epoch = type(engine.store.zones[ZONE].epoch)("stale")
    await engine.store.reopen(ZONE, stale=engine.store.zones[ZONE].epoch)
    assert await run_scheduler(engine) >= before
    assert (await meta_values(engine, "offset"))[0] > back_ms - 1000
