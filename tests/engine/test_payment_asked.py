"""What is asked for when work is confirmed, by somebody or by itself: the amount, or the rate for each hour begun."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from engine.domain import codes, jobs
from engine.domain.jobs import Step
from engine.errors import IllegalTransition
from engine.runtime import Engine
from engine.store import keys, scripts
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance

LIB = Path(scripts.scripts_folder()) / "lib"
HOURLY = '"pricing":"hourly"'


def stamp(at: datetime) -> str:
    """A time as scripts write it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def lua(engine: Engine, call: str, *args: str) -> Any:
    """What a call of lua/lib/cost.lua gives; ``j`` is made of the arguments."""
    source = (LIB / "cost.lua").read_text()
    body = f"{source}\nlocal j = {{at = ARGV[1], full = ARGV[2], amount = ARGV[3]}}\nreturn {call}"
    return await engine.store.redis.eval(body, 0, *args)  # type: ignore[misc]


async def cost(engine: Engine, first: datetime, last: datetime, full: str = HOURLY, amount: int = 4000) -> int:
    """The cost of work between two moments."""
    at = f'"a":"{stamp(first)}","b":"{stamp(last)}"'
    return int(await lua(engine, "Cost.amount(j, 'a', 'b')", at, full, str(amount)))


ENDS = [
    datetime(y, m, d, 23, 59, 59, 999_000, tzinfo=UTC)
    for y, m, d in [
        *((2026, m, 28) for m in range(1, 13)),
        *((2027, m, d) for m, d in ((1, 31), (3, 31), (4, 30), (6, 30), (9, 30), (12, 31))),
        *((y, 2, d) for y, d in ((2000, 29), (2024, 29), (2027, 28), (2100, 28))),
        *((y, 12, 31) for y in (1999, 2023, 2024, 2099)),
    ]
]


async def test_moments_are_those_of_the_calendar(engine: Engine) -> None:
    """Month ends, leap days, turns of years and centuries: the seconds between are Python's."""
    chance = Random(4)
    spread = [
        datetime(1999, 1, 1, tzinfo=UTC) + timedelta(milliseconds=chance.randrange(4 * 10**12)) for _ in range(60)
    ]
    for first, step in itertools.product([*ENDS, *spread], (timedelta(milliseconds=1), timedelta(days=1, seconds=1))):
        last = first + step
        at = f'"a":"{stamp(first)}","b":"{stamp(last)}"'
        found = await lua(
            engine, "string.format('%.0f', (Cost.moment(j, 'b') - Cost.moment(j, 'a')) * 1000)", at, "", "0"
        )
        assert int(found) == step / timedelta(milliseconds=1), (first, last)


async def test_each_hour_begun_is_paid(engine: Engine) -> None:
    """As Python reckons it, over the ends of months: never less than one, a whole one not twice."""
    spans = ((0, 0), (0, 1), (59, 0), (60, 0), (60, 1), (150, 0), (24 * 60, 0), (24 * 60, 1))
    for end, (minutes, ms) in itertools.product(ENDS, spans):
        first = end - timedelta(minutes=30)
        last = first + timedelta(minutes=minutes, milliseconds=ms)
        hours = max(1, math.ceil((last - first) / timedelta(hours=1)))
        assert await cost(engine, first, last) == 4000 * hours, (first, last)


async def test_the_amount_where_it_is_no_work_by_the_hour(engine: Engine) -> None:
    """A flat job costs its amount, whatever its customer wrote into it; so does one without both moments."""
    first = datetime(2026, 1, 31, 23, tzinfo=UTC)
    for full in ('"pricing":"flat"', '"pricing":"flat","metadata":{"pricing":"hourly"}'):
        assert await cost(engine, first, first + timedelta(hours=9), full) == 4000
    assert int(await lua(engine, "Cost.amount(j, 'a', 'b')", '"a":"2026-01-31T23:00:00.000Z"', HOURLY, "4000")) == 4000
    assert await cost(engine, first, first + timedelta(hours=2), amount=10**12) == 2 * 10**12


async def done(engine: Engine, *, pricing: str = "flat", hours: float = 2.5) -> tuple[Principal, JobId]:
    """A marketplace job whose technician has finished after so many hours; gives its customer, too."""
    serves, carla = await people.service(engine, pricing=pricing, base_amount=4000), await people.customer(engine)
    who = await people.technician(engine, "t1", serves)
    more = {"blueprint": "marketplace", "technician": "t1"}
    job = people.id_of(await people.job(engine, carla, serves, **more))  # type: ignore[arg-type]
    await jobs.run_command(engine, who, job, Step(command="accept"))
    for command, purpose in (("start", "start"), ("complete", "completion")):
        code = codes.derive_code(engine, job, purpose, "1")
        await jobs.run_command(engine, who, job, Step(command=command, code=code))
        await advance(engine, hours * 3600)
    return carla, job


async def asked(engine: Engine, job: JobId) -> list[dict[str, Any]]:
    """The payments that were asked for."""
    return [event_log.payload(event)["payment"] for event in await event_log.events(engine, "payment.requested", job)]


@pytest.mark.parametrize(("pricing", "amount"), [("flat", 4000), ("hourly", 12_000)])
async def test_the_customer_confirms_once(engine: Engine, pricing: str, amount: int) -> None:
    """Two and a half hours are three; confirming again asks for nothing more."""
    carla, job = await done(engine, pricing=pricing)
    told = await jobs.run_command(engine, carla, job, Step(command="confirm"))
    assert "confirmed" in orjson.loads(bytes(told.job or b""))["at"]
    [payment] = await asked(engine, job)
    assert (payment["amount"], payment["currency"], payment["kind"]) == (amount, "USD", "charge")
    again = await jobs.run_command(engine, carla, job, Step(command="confirm"))
    assert again.repeated and again.seq == told.seq
    assert len(await asked(engine, job)) == 1


async def test_unconfirmed_for_two_days_it_confirms_itself(engine: Engine) -> None:
    """Not before; then once, by the engine; and the customer comes too late to do it again."""
    carla, job = await done(engine, pricing="hourly")
    await advance(engine, 172_800 - 2.5 * 3600 - 60)
    await _due(engine)
    assert await asked(engine, job) == []
    await advance(engine, 61)
    for _ in range(2):
        await _due(engine)
    [payment] = await asked(engine, job)
    assert payment["amount"] == 12_000
    [event] = await event_log.events(engine, "payment.requested", job)
    assert event.actor == "engine" and event_log.payload(event)["command"] == "confirm"
    with pytest.raises(IllegalTransition):
        await jobs.run_command(engine, carla, job, Step(command="confirm"))


async def _due(engine: Engine) -> None:
    """Do what is due now; due work rests for a lease after the zone was opened."""
    await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), "opened_at", "0")
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
