"""The log wakes the scheduler, whichever process scheduled a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from engine.domain import jobs, offers
from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from engine.technicians import live
from engine.types import DEFAULT_ZONE, Zone
from engine.workers import scheduler, wake
from tests.support import event_log, people
from tests.support.wait import wait_until

NEVER_S = 600.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Two zones."""
    return msgspec.structs.replace(settings, zones=[DEFAULT_ZONE, "other"])


@pytest.fixture
async def elsewhere(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """The engine of another process, with a scheduler that only the log can wake."""
    run_once = scheduler.run_once

    async def unless_woken(engine: Engine, zone: Zone) -> float:
        return NEVER_S if await run_once(engine, zone) > 0 else 0.0

    monkeypatch.setattr(scheduler, "run_once", unless_woken)
    async with open_engine(settings) as other:
        running = asyncio.create_task(scheduler.run(other))
        await wait_until(lambda: _listens(other), what="the listener")
        yield other
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _listens(engine: Engine) -> bool:
    """Return whether a client waits for the log in a blocking read."""
    clients = await engine.store.redis.client_list()
    return any(client["cmd"] == "xread" and "b" in client["flags"] for client in clients)


async def _told(engine: Engine, kind: str, number: int) -> bool:
    return len(await event_log.events(engine, kind)) >= number


@pytest.mark.parametrize("kind", ["offer.created", "notification", "job.searching", "job.accepted", "job.late", "x"])
def test_what_makes_nothing_due_wakes_nobody(kind: str) -> None:
    """Most events schedule no task: a scheduler that woke for each would cost Redis more than it saves."""
    assert not wake._makes_due(kind.encode())


async def test_a_booking_in_another_process_is_offered_without_a_look_at_the_clock(
    engine: Engine, elsewhere: Engine
) -> None:
    """The first wave opens because the log has the booking; several bookings follow one after the other."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "t1", serves, capacity=9)
    for number in range(1, 4):
        await people.job(engine, carla, serves)
        await wait_until(lambda n=number: _told(engine, "offer.created", n), what="the offer")


async def test_who_comes_online_and_who_declines_wake_it_too(engine: Engine, elsewhere: Engine) -> None:
    """A late joiner is matched at once, and a job that was given back is offered again at once."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = people.id_of(await people.job(engine, carla, serves))
    await wait_until(lambda: _told(engine, "offer.created", 1), what="the first offer")
    two = await people.technician(engine, "t2", serves, at=None)
    await live.set_availability(engine, two, "t2", online=True, position=people.HERE)
    await wait_until(lambda: _told(engine, "offer.created", 2), what="the late joiner's offer")
    await offers.decline_offer(engine, two, job)
    await jobs.claim(engine, one, job)
    three = await people.technician(engine, "t3", serves)
    await jobs.run_command(engine, one, job, jobs.Step(command="unassign"))
    heard = [event.to for event in await event_log.events(engine, "offer.created")]
    await wait_until(lambda: _told(engine, "offer.created", len(heard) + 1), what="the job offered anew")
    assert f"user:{three.id}" in (await event_log.events(engine, "offer.created"))[-1].to


async def test_each_zone_is_woken_by_its_own_log_alone(engine: Engine) -> None:
    """An event of one zone does not wake the scheduler of another."""
    zones = (DEFAULT_ZONE, Zone("other"))
    wakes = {zone: asyncio.Event() for zone in zones}
    running = asyncio.create_task(wake.wake_schedulers(engine, zones, wakes))
    await wait_until(lambda: _listens(engine), what="the listener")
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.job(engine, carla, serves)
    await asyncio.wait_for(wakes[DEFAULT_ZONE].wait(), 20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not wakes[Zone("other")].is_set()
