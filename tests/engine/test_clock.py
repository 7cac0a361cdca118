"""The zone's clock: it never goes back or stops, and no lease, offer or job ends by a time that no process observed."""

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
META = keys.zone_meta(ZONE)
HOUR_MS = 3_600_000


async def meta(engine: Engine, *names: str) -> list[int]:
    found: Any = await engine.store.redis.hmget(META, list(names))
    return [int(value or 0) for value in found]


async def tick(engine: Engine) -> int:
    """Return the zone's time as the scheduler writes it."""
    await scheduler.run_once(engine, ZONE)
    (now,) = await meta(engine, "now")
    return now


async def step_back(engine: Engine, ms: int) -> None:
    """Let TIME return the time of a server whose clock was ``ms`` fast and is then corrected."""
    await engine.store.redis.hincrby(META, "skew", -ms)


async def all_due(engine: Engine) -> None:
    for _ in range(20):
        if await scheduler.run_once(engine, ZONE) > 0:
            return


async def test_time_continues_after_a_fast_clock(engine: Engine) -> None:
    """The difference becomes part of the offset once; the zone's time continues from its last value at its usual
    speed.
    """
    await advance(engine, HOUR_MS / 1000)
    before = await tick(engine)
    opened = await meta(engine, "opened_at")
    await step_back(engine, HOUR_MS)
    first = await tick(engine)
    (offset,) = await meta(engine, "offset")
    assert before <= first < before + 1000
    assert HOUR_MS - 1000 < offset <= HOUR_MS
    await asyncio.sleep(0.03)
    assert await tick(engine) >= first + 30
    assert await meta(engine, "offset", "opened_at") == [offset, *opened]


async def test_waves_and_expiry_continue_after_a_fast_clock(engine: Engine) -> None:
    """A job that is booked afterwards is offered and expires, and a fix counts, as usual."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    await advance(engine, HOUR_MS / 1000)
    await live.renew_leases(engine, ZONE, [one.id])
    await tick(engine)
    await step_back(engine, HOUR_MS)
    await tick(engine)
    key = keys.technician(ZONE, TechnicianId(one.id))
    fixed: Any = await engine.store.redis.hget(key, "fix_at")
    await live.store_fixes(engine, one, one.id, [Fix(lat=people.HERE.lat, lon=people.HERE.lon, at=now_ms())])
    again: Any = await engine.store.redis.hget(key, "fix_at")
    assert int(again) > int(fixed)
    job = people.id_of(await people.job(engine, carla, serves))
    await all_due(engine)
    assert await event_log.events(engine, "offer.created", job)
    await advance(engine, 2 * 3600)
    await all_due(engine)
    assert await event_log.events(engine, "job.expired", job)


async def test_a_small_step_back_is_waited_out(engine: Engine) -> None:
    """Corrections of some milliseconds do not add up to an offset."""
    before = await tick(engine)
    for _ in range(5):
        await step_back(engine, 200)
        assert await tick(engine) >= before
        await engine.store.redis.hincrby(META, "skew", 200)
    assert await meta(engine, "offset") == [0]


async def test_unobserved_time_removes_the_offset(engine: Engine) -> None:
    """After a stop overnight the zone's time is the server's time again, and the grace period starts there."""
    await advance(engine, HOUR_MS / 1000)
    await tick(engine)
    await step_back(engine, HOUR_MS)
    before = await tick(engine)
    await advance_unobserved(engine, 1800)
    half = await tick(engine)
    offset, opened = await meta(engine, "offset", "opened_at")
    assert before <= half < before + 2000 and opened == half
    assert HOUR_MS / 2 - 2000 < offset <= HOUR_MS / 2
    await advance_unobserved(engine, 8 * 3600)
    whole = await tick(engine)
    assert await meta(engine, "offset", "opened_at") == [0, whole]
    assert whole > half + 7 * HOUR_MS


async def test_a_quiet_zone_writes_its_time(engine: Engine) -> None:
    """In a quiet zone the scheduler looks every second, so that only a real stop looks like a stop."""
    first = await tick(engine)
    await asyncio.sleep(0.01)
    assert await scheduler.run_once(engine, ZONE) <= 1.0
    (now,) = await meta(engine, "now")
    assert now >= first + 10


async def test_a_corrected_clock_does_not_change_the_end_of_an_offer(engine: Engine) -> None:
    """An offer that was open before the correction is open after it, and no longer than before."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = await people.offered(engine, carla, serves)
    await step_back(engine, HOUR_MS)
    assert (await jobs.claim(engine, one, JobId(job))).message == "Job accepted"


@pytest.mark.parametrize("back_ms", [0, 1_500, HOUR_MS])
async def test_an_offset_survives_a_new_epoch(engine: Engine, back_ms: int) -> None:
    """A zone that opens in a new epoch continues above the last time in its log."""
    before = await tick(engine)
    await step_back(engine, back_ms)
    await engine.store.redis.hset(META, "run_id", "gone")
    engine.store.zones[ZONE].epoch = type(engine.store.zones[ZONE].epoch)("stale")
    await engine.store.reopen(ZONE, stale=engine.store.zones[ZONE].epoch)
    assert await tick(engine) >= before
    assert (await meta(engine, "offset"))[0] > back_ms - 1000
