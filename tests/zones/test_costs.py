"""The cost of a command does not depend on the number of zones, or is one round trip to all zones at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.domain import job_queries, jobs, offers, profile
from engine.domain.profile import ProfilePatch
from engine.errors import NotFound
from engine.idempotency import in_redis
from engine.process.settings import Settings
from engine.rules.fixes import Fix
from engine.rules.zone_areas import ZoneArea
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.store.pipeline import Pipeline
from engine.technicians import lease_renewal, live, sql
from engine.types import Principal, TechnicianId, Zone
from engine.workers import archiver, notifier, scheduler
from tests.engine import staff
from tests.support import people
from tests.support.wait import wait_until

MANY_ZONES = tuple(Zone(f"z{number}") for number in range(12))
LAST, OTHER = MANY_ZONES[-1], MANY_ZONES[0]


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """Yield an engine with 13 zones."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(msgspec.structs.replace(settings, zones=(*MANY_ZONES, Zone("main")))) as opened:
        yield opened


class RedisCalls:
    """Counts the commands that a process sends to Redis. ``peak`` is the largest number that waited for a reply at the
    same time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.peak = self._waiting = 0
        submit = Pipeline.submit

        async def counted(pipeline: Pipeline, *command: Any, **options: Any) -> Any:
            self.count += 1
            self._waiting += 1
            self.peak = max(self.peak, self._waiting)
            try:
                return await submit(pipeline, *command, **options)
            finally:
                self._waiting -= 1

        monkeypatch.setattr(Pipeline, "submit", counted)

    async def count_of(self, action: Awaitable[Any]) -> int:
        """Await the action and return how many commands it sent."""
        self.count = self.peak = 0
        await action
        return self.count


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> RedisCalls:
    """Count the commands of this process."""
    return RedisCalls(monkeypatch)


async def move(engine: Engine, who: Principal, zone: Zone) -> None:
    """Let a manager move an offline technician to another zone."""
    await profile.patch_technician(engine, staff.ADMIN, TechnicianId(who.id), ProfilePatch(zone=zone))


async def send_fix(engine: Engine, who: Principal, lat: float) -> None:
    """Send a fix of the technician."""
    await live.store_fixes(engine, who, who.id, [Fix(lat=lat, lon=-73.99)])


async def test_a_technician_costs_the_same_in_any_number_of_zones(engine: Engine, calls: RedisCalls) -> None:
    """A fix, a sign of life and a list of offers need as many commands with 13 zones as with one, because the process
    remembers the technician's zone. After another process moved the technician, the next fix and sign of life go to the
    new zone."""
    who = await staff.create_eligible_technician(engine, await people.service(engine))
    await live.set_availability(engine, who, who.id, online=False)
    await move(engine, who, LAST)
    await live.set_availability(engine, who, who.id, online=True, position=people.HERE)

    assert await calls.count_of(send_fix(engine, who, 40.751)) == 1
    assert await calls.count_of(lease_renewal.renew_leases_in_own_zones(engine, [who.id])) == 1
    assert await calls.count_of(offers.find_open_offers(engine, who)) == 2
    assert await calls.count_of(live.read_presence(engine, who)) == 2

    await live.set_availability(engine, who, who.id, online=False)
    async with open_engine(engine.settings) as other:
        await move(other, who, OTHER)
        await live.set_availability(other, who, who.id, online=True, position=people.HERE)
    await send_fix(engine, who, 40.752)
    record = keys.technician(OTHER, TechnicianId(who.id))
    assert float(await engine.store.redis.hget(record, "lat") or 0) == 40.752
    await engine.store.redis.zadd(keys.last_seen(OTHER), {who.id: 5})
    engine.technician_zones._found[TechnicianId(who.id)] = LAST  # as if no fix had been sent
    await lease_renewal.renew_leases_in_own_zones(engine, [who.id, "nobody"])
    assert (await engine.store.redis.zscore(keys.last_seen(OTHER), who.id) or 0) > 5
    with pytest.raises(NotFound):
        await send_fix(engine, people.technician_without_account("nobody"), 40.75)


async def test_a_job_is_found_by_its_id(engine: Engine, calls: RedisCalls) -> None:
    """A job is read from the zone that its id names. A request key names no zone, and a list has the jobs of all: then
    all zones are asked at once.
    """
    customer = await people.customer(engine)
    booked = await people.job(engine, customer, await people.service(engine))
    assert await calls.count_of(jobs.read_record(engine, customer, Zone("main"), people.id_of(booked))) == 1
    in_one = await calls.count_of(job_queries.read_job(engine, customer, people.id_of(booked)))
    assert in_one < len(MANY_ZONES)
    assert await calls.count_of(in_redis.find_record(engine, customer, booked.key)) == calls.peak == len(MANY_ZONES) + 1
    await job_queries.live_jobs(engine, customer, 10)
    assert calls.peak == len(MANY_ZONES) + 1


async def test_a_record_that_is_written_late_leaves_no_copy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process reads a technician's profile before they move to another zone, and writes it afterwards: it then
    removes its copy from the old zone. A technician whose zone is no longer declared does not stop the repair of the
    others."""
    who = await staff.create_eligible_technician(engine, await people.service(engine))
    lost = await staff.create_eligible_technician(engine, await people.service(engine))
    await live.set_availability(engine, who, who.id, online=False)
    read_row, moved = sql.read_row, False

    async def move_between(given: Engine, technician: TechnicianId) -> sql.TechnicianRow:
        nonlocal moved
        row = await read_row(given, technician)
        if not moved and technician == who.id:
            moved = True
            await move(given, who, LAST)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(sql, "read_row", move_between)
        await sql.publish_to_redis(engine, who.id)
    having = [zone for zone in engine.store.zones if await engine.store.redis.exists(keys.technician(zone, who.id))]
    assert moved and having == [LAST]

    async with engine.archive.begin_write() as conn:
        await sql.update_technician(conn, TechnicianId(lost.id), zone="gone")
        await sql.update_technician(conn, TechnicianId(who.id))
    await sql.repair_redis(engine)
    assert (await sql.read_row(engine, TechnicianId(who.id))).version == int(
        await engine.store.redis.hget(keys.technician(LAST, TechnicianId(who.id)), "profile") or 0
    )
    await live.set_availability(engine, lost, lost.id, online=False)
    await move(engine, lost, LAST)
    assert await live.read_zone(engine, lost.id) == LAST


async def test_workers_work_for_the_served_zones_alone(settings: Settings) -> None:
    """The workers of a process with `--zones` take the leases of these zones and of `main`, and of no other."""
    Path(settings.data).mkdir(exist_ok=True)
    zones, areas = (OTHER, Zone("main")), (ZoneArea(OTHER), ZoneArea(LAST))
    async with AsyncExitStack() as stack:
        wanted_settings = msgspec.structs.replace(settings, zones=zones, zone_areas=areas)
        engine = await stack.enter_async_context(open_engine(wanted_settings))
        assert engine.store.zones[LAST].open
        tasks = [asyncio.create_task(run(engine)) for run in (scheduler.run, archiver.run, notifier.run)]
        stack.callback(lambda: [task.cancel() for task in tasks])

        async def holders() -> set[str]:
            return {each.decode() async for each in engine.store.redis.scan_iter(match="{*}:runner:*")}

        wanted = {f"{{{zone}}}:runner:{kind}" for zone in zones for kind in ("scheduler", "archiver", "push")}
        await wait_until(lambda: _has_all(holders, wanted))
        assert await holders() == wanted


async def _has_all(read: Callable[[], Awaitable[set[str]]], wanted: set[str]) -> bool:
    return wanted <= await read()
