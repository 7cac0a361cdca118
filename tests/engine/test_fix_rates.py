"""How often a technician's app should send a fix: the rate depends on their jobs, on the distance to the job's place
and on whether they move. The app is informed once of each change.
"""

from __future__ import annotations

import msgspec
import pytest

from engine.domain import jobs
from engine.domain.commands import CommandInput
from engine.domain.positions import PublishedRate
from engine.rules.fixes import Fix, FixRate
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, Principal, ServiceId
from tests.support import people
from tests.support.clock import advance

DEGREES_PER_M = 1 / 111_195
STILL, IDLE, ON_JOB, NEAR = FixRate(60, 100), FixRate(30, 250), FixRate(10, 100), FixRate(3, 50)


@pytest.fixture
async def service(engine: Engine) -> ServiceId:
    """Create a service."""
    return await people.service(engine)


async def move_to(engine: Engine, who: Principal, north_m: float, after_s: float = 10.0) -> FixRate:
    """Send a fix of a technician ``north_m`` metres north of the jobs' place, and return the rate that applies
    afterwards.
    """
    await advance(engine, after_s)
    await live.store_fixes(engine, who, who.id, [Fix(lat=people.HERE.lat + north_m * DEGREES_PER_M, lon=-73.99)])
    return await current_rate(engine, who)


async def current_rate(engine: Engine, who: Principal) -> FixRate:
    """Return the rate that the reply to ``connect`` would contain now."""
    state = await live.read_presence(engine, who)
    assert state is not None
    return state.fix


async def test_who_stays_in_place_sends_less(engine: Engine, service: ServiceId) -> None:
    """An idle technician sends every 30 s, and every 60 s after five minutes in one place. Noise of the position does
    not count as a move; a move of 100 m does.
    """
    tom = await people.technician(engine, "tom", service)
    assert await current_rate(engine, tom) == IDLE
    assert [await move_to(engine, tom, metres, 100) for metres in (0, 20, 40, 10)] == [IDLE, IDLE, IDLE, STILL]
    assert [await move_to(engine, tom, metres, 60) for metres in (70, 95, 20)] == [STILL] * 3
    assert await move_to(engine, tom, 130, 60) == IDLE


async def test_a_job_and_its_place_change_the_rate(engine: Engine, service: ServiceId) -> None:
    """From the claim on an app sends every 10 s, and every 3 s within 500 m of the place of a job whose position is
    shared, until the technician is 600 m away again or stays there. After the job it sends every 30 s.
    """
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, await people.customer(engine), service)
    await jobs.claim(engine, tom, job)
    assert await current_rate(engine, tom) == ON_JOB
    assert await move_to(engine, tom, 200) == ON_JOB
    await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    path = ((700, ON_JOB), (510, ON_JOB), (490, NEAR), (590, NEAR), (610, ON_JOB), (550, ON_JOB), (300, NEAR))
    assert [await move_to(engine, tom, metres) for metres, _ in path] == [rate for _, rate in path]
    assert await move_to(engine, tom, 310, 301) == ON_JOB
    for name in ("arrive", "start", "complete"):
        await jobs.run_command(engine, tom, job, CommandInput(command=name))
    assert await current_rate(engine, tom) == IDLE


async def test_each_change_is_published_once(engine: Engine, service: ServiceId) -> None:
    """A change of the rate is published in the step that causes it, and not again while it stays."""
    tom = await people.technician(engine, "tom", service)
    async with engine.store.redis.pubsub() as channel:
        await channel.ssubscribe(keys.live_channel(DEFAULT_ZONE))
        await move_to(engine, tom, 0)
        job = await people.offered_job(engine, await people.customer(engine), service)
        await jobs.claim(engine, tom, job)
        await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
        for metres in (900, 800, 400, 300):
            await move_to(engine, tom, metres)
        rates = []
        while len(rates) < 2:
            message = await channel.get_message(timeout=5)
            assert message is not None
            if message["type"] == "smessage" and b'"kind":"rate"' in message["data"]:
                rates.append(msgspec.json.decode(message["data"], type=PublishedRate))
    assert rates == [PublishedRate(tom.id, 10, 100), PublishedRate(tom.id, 3, 50)]  # type: ignore[arg-type]
