"""Tests that events in the log wake the scheduler, for every process that may append them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from engine.domain import jobs, offers
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.technicians import live
from engine.types import DEFAULT_ZONE, Zone
from engine.workers import scheduler, wake
from tests.support import event_log, people
from tests.support.wait import wait_until

LONG_SLEEP_S = 600.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings with two zones, `main` and `other`."""
    return msgspec.structs.replace(settings, zones=[DEFAULT_ZONE, "other"])


@pytest.fixture
async def other_process(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """Yield the engine of another process whose scheduler sleeps `LONG_SLEEP_S` seconds unless the log wakes it."""
    run_once = scheduler.run_once

    async def run_once_then_sleep(engine: Engine, zone: Zone) -> float:
        return LONG_SLEEP_S if await run_once(engine, zone) > 0 else 0.0

    monkeypatch.setattr(scheduler, "run_once", run_once_then_sleep)
    async with open_engine(settings) as other:
        running = asyncio.create_task(scheduler.run(other))
        await wait_until(lambda: _is_listening(other), what="the listener")
        yield other
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _is_listening(engine: Engine) -> bool:
    """Return whether a client of Redis waits for the log in a blocking read."""
    clients = await engine.store.redis.client_list()
    return any(client["cmd"] == "xread" and "b" in client["flags"] for client in clients)


async def _has_events(engine: Engine, event_type: str, number: int) -> bool:
    """Return whether the log has at least `number` events of this type."""
    return len(await event_log.events(engine, event_type)) >= number


@pytest.mark.parametrize("kind", ["offer.created", "notification", "job.searching", "job.accepted", "job.late", "x"])
def test_events_without_a_scheduled_task_wake_no_scheduler(kind: str) -> None:
    """An event that schedules no task does not wake the scheduler. Most events are of this kind, and a wake-up for each
    would cost Redis more than it saves.
    """
    assert not wake._event_makes_task_due([b"type", kind.encode(), b"data", b'{"job":{}}'])


async def test_a_booking_in_another_process_wakes_the_scheduler(engine: Engine, other_process: Engine) -> None:
    """The `job.created` of a booking in another process wakes the scheduler, which opens the first wave. Several
    bookings in sequence each wake it.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "t1", service, capacity=9)
    for number in range(1, 4):
        await people.job(engine, carla, service)
        await wait_until(lambda n=number: _has_events(engine, "offer.created", n), what="the offer")


async def test_coming_online_declining_and_unassigning_wake_the_scheduler(
    engine: Engine, other_process: Engine
) -> None:
    """A technician who comes online, a decline and an `unassign` wake the scheduler, and the offers follow at once."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = people.id_of(await people.job(engine, carla, service))
    await wait_until(lambda: _has_events(engine, "offer.created", 1), what="the first offer")
    two = await people.technician(engine, "t2", service, at=None)
    await live.set_availability(engine, two, "t2", online=True, position=people.HERE)
    await wait_until(lambda: _has_events(engine, "offer.created", 2), what="the late joiner's offer")
    await offers.decline_offer(engine, two, job)
    await jobs.claim(engine, tom, job)
    three = await people.technician(engine, "t3", service)
    await jobs.run_command(engine, tom, job, jobs.CommandInput(command="unassign"))
    audiences = [event.to for event in await event_log.events(engine, "offer.created")]
    await wait_until(lambda: _has_events(engine, "offer.created", len(audiences) + 1), what="the job offered again")
    assert f"user:{three.id}" in (await event_log.events(engine, "offer.created"))[-1].to


async def test_each_zone_is_woken_by_its_own_log_alone(engine: Engine) -> None:
    """An event in the log of one zone does not wake the scheduler of another zone."""
    zones = (DEFAULT_ZONE, Zone("other"))
    wakes = {zone: asyncio.Event() for zone in zones}
    running = asyncio.create_task(wake.wake_schedulers(engine, zones, wakes))
    await wait_until(lambda: _is_listening(engine), what="the listener")
    service, carla = await people.service(engine), await people.customer(engine)
    await people.job(engine, carla, service)
    await asyncio.wait_for(wakes[DEFAULT_ZONE].wait(), 20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not wakes[Zone("other")].is_set()
