"""The payment that is requested when work is confirmed, by the customer or by a timer. With flat pricing it is the
job's amount; with hourly pricing it is the rate for each begun hour.
"""

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
from engine.domain.jobs import CommandInput
from engine.errors import IllegalTransition
from engine.events import Event
from engine.runtime import Engine
from engine.store import keys, scripts
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance

LUA_LIBRARY = Path(scripts.scripts_folder()) / "lib"
HOURLY_PRICING = '"pricing":"hourly"'


def rfc_3339(at: datetime) -> str:
    """Return a time in the form in which the scripts write times."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def eval_cost_lua(engine: Engine, lua_call: str, *args: str) -> Any:
    """Evaluate a Lua expression that calls functions of `lua/lib/cost.lua`, and return its value. In the expression
    `j` is a job whose fields ``at``, ``full`` and ``amount`` are ``args``.
    """
    source = (LUA_LIBRARY / "cost.lua").read_text()
    body = f"{source}\nlocal j = {{at = ARGV[1], full = ARGV[2], amount = ARGV[3]}}\nreturn {lua_call}"
    return await engine.store.redis.eval(body, 0, *args)  # type: ignore[misc]


async def cost_of_work(
    engine: Engine, work_begins: datetime, work_ends: datetime, full: str = HOURLY_PRICING, amount: int = 4000
) -> int:
    """Return the cost of work between two times, in minor units of the currency. ``full`` is the part of the job's JSON
    that contains the pricing.
    """
    at = f'"a":"{rfc_3339(work_begins)}","b":"{rfc_3339(work_ends)}"'
    return int(await eval_cost_lua(engine, "Cost.amount(j, 'a', 'b')", at, full, str(amount)))


MONTH_ENDS = [
    datetime(y, m, d, 23, 59, 59, 999_000, tzinfo=UTC)
    for y, m, d in [
        *((2026, m, 28) for m in range(1, 13)),
        *((2027, m, d) for m, d in ((1, 31), (3, 31), (4, 30), (6, 30), (9, 30), (12, 31))),
        *((y, 2, d) for y, d in ((2000, 29), (2024, 29), (2027, 28), (2100, 28))),
        *((y, 12, 31) for y in (1999, 2023, 2024, 2099)),
    ]
]


async def test_durations_in_lua_match_the_calendar(engine: Engine) -> None:
    """Between two times, `Cost.moment` computes the same duration as Python's calendar, also over ends of months, leap
    days and turns of years and centuries.
    """
    chance = Random(4)
    spread = [
        datetime(1999, 1, 1, tzinfo=UTC) + timedelta(milliseconds=chance.randrange(4 * 10**12)) for _ in range(60)
    ]
    for first, step in itertools.product(
        [*MONTH_ENDS, *spread], (timedelta(milliseconds=1), timedelta(days=1, seconds=1))
    ):
        last = first + step
        at = f'"a":"{rfc_3339(first)}","b":"{rfc_3339(last)}"'
        duration = await eval_cost_lua(
            engine, "string.format('%.0f', (Cost.moment(j, 'b') - Cost.moment(j, 'a')) * 1000)", at, "", "0"
        )
        assert int(duration) == step / timedelta(milliseconds=1), (first, last)


async def test_each_begun_hour_is_paid(engine: Engine) -> None:
    """The cost of hourly work is the rate times the begun hours, at least one: 60 minutes are one hour, and 60 minutes
    and 1 ms are two.
    """
    spans = ((0, 0), (0, 1), (59, 0), (60, 0), (60, 1), (150, 0), (24 * 60, 0), (24 * 60, 1))
    for end, (minutes, ms) in itertools.product(MONTH_ENDS, spans):
        first = end - timedelta(minutes=30)
        last = first + timedelta(minutes=minutes, milliseconds=ms)
        hours = max(1, math.ceil((last - first) / timedelta(hours=1)))
        assert await cost_of_work(engine, first, last) == 4000 * hours, (first, last)


async def test_flat_work_costs_its_amount(engine: Engine) -> None:
    """A job with flat pricing costs its amount, even if its metadata contain `"pricing":"hourly"`. So does an hourly
    job without an end time.
    """
    first = datetime(2026, 1, 31, 23, tzinfo=UTC)
    for full in ('"pricing":"flat"', '"pricing":"flat","metadata":{"pricing":"hourly"}'):
        assert await cost_of_work(engine, first, first + timedelta(hours=9), full) == 4000
    assert (
        int(
            await eval_cost_lua(
                engine, "Cost.amount(j, 'a', 'b')", '"a":"2026-01-31T23:00:00.000Z"', HOURLY_PRICING, "4000"
            )
        )
        == 4000
    )
    assert await cost_of_work(engine, first, first + timedelta(hours=2), amount=10**12) == 2 * 10**12


async def completed_job(engine: Engine, *, pricing: str = "flat", hours: float = 2.5) -> tuple[Principal, JobId]:
    """Create a marketplace job whose technician completed the work after ``hours`` hours. Return the customer and the
    job.
    """
    service, carla = await people.service(engine, pricing=pricing, base_amount=4000), await people.customer(engine)
    who = await people.technician(engine, "t1", service)
    more = {"blueprint": "marketplace", "technician": "t1"}
    job = people.id_of(await people.job(engine, carla, service, **more))  # type: ignore[arg-type]
    await jobs.run_command(engine, who, job, CommandInput(command="accept"))
    for command, purpose in (("start", "start"), ("complete", "completion")):
        code = codes.derive_code(engine, job, purpose, "1")
        await jobs.run_command(engine, who, job, CommandInput(command=command, code=code))
        await advance(engine, hours * 3600)
    return carla, job


async def requested_payments(engine: Engine, job: JobId) -> list[dict[str, Any]]:
    """Return the charges that the job requested, in order."""
    return [event_log.payload(event)["payment"] for event in await charge_requests(engine, job)]


async def charge_requests(engine: Engine, job: JobId) -> list[Event]:
    """Return the events that request a charge."""
    requests = await event_log.events(engine, "payment.requested", job)
    return [event for event in requests if event_log.payload(event)["payment"]["kind"] == "charge"]


@pytest.mark.parametrize(("pricing", "amount"), [("flat", 4000), ("hourly", 12_000)])
async def test_a_confirmation_requests_one_payment(engine: Engine, pricing: str, amount: int) -> None:
    """A confirmation after 2.5 hours of work requests the flat amount or three hourly rates. A second confirmation is a
    repeat and requests nothing.
    """
    carla, job = await completed_job(engine, pricing=pricing)
    reply = await jobs.run_command(engine, carla, job, CommandInput(command="confirm"))
    assert "confirmed" in orjson.loads(bytes(reply.job or b""))["at"]
    [payment] = await requested_payments(engine, job)
    assert (payment["amount"], payment["currency"], payment["kind"]) == (amount, "USD", "charge")
    again = await jobs.run_command(engine, carla, job, CommandInput(command="confirm"))
    assert again.repeated and again.seq == reply.seq
    assert len(await requested_payments(engine, job)) == 1


async def test_after_two_days_the_engine_confirms_the_work(engine: Engine) -> None:
    """If the customer does not confirm the work within two days, the engine confirms it, once. A later confirmation by
    the customer is an illegal transition.
    """
    carla, job = await completed_job(engine, pricing="hourly")
    await advance(engine, 172_800 - 2.5 * 3600 - 60)
    await _run_due_tasks(engine)
    assert await requested_payments(engine, job) == []
    await advance(engine, 61)
    for _ in range(2):
        await _run_due_tasks(engine)
    [payment] = await requested_payments(engine, job)
    assert payment["amount"] == 12_000
    [event] = await charge_requests(engine, job)
    assert event.actor == "engine" and event_log.payload(event)["command"] == "confirm"
    with pytest.raises(IllegalTransition):
        await jobs.run_command(engine, carla, job, CommandInput(command="confirm"))


async def _run_due_tasks(engine: Engine) -> None:
    """Run all scheduled tasks that are due now. The zone counts as opened long ago, because due tasks wait for one
    lease after a zone is opened.
    """
    await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), "opened_at", "0")
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass
