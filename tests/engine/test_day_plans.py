"""Tests of day plans: refusals, proposals, and the application of a plan to jobs that may have changed."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from engine.clock import now_ms
from engine.domain import blocks, day_plan_moves, day_plans, jobs, technician_schedules
from engine.domain.commands import CommandInput
from engine.domain.day_plans import DayPlan, PlanRequest
from engine.errors import CalloutError
from engine.rules.working_hours import WeekSpan, WorkingHours
from engine.runtime import Engine
from engine.store import keys
from engine.technicians.live import Coordinates
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, UserId
from tests.engine import staff
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import change_record, metres_north
from tests.support.people import ADMIN

TOMORROW = datetime.now(UTC).date() + timedelta(days=1)
NORTH, SOUTH = metres_north(9_000), people.HERE


async def book_at(
    engine: Engine, who: Principal, service: ServiceId, hour: float, at: Coordinates, **more: Any
) -> JobId:
    """Book a managed job for an hour of tomorrow (UTC)."""
    midnight = round(datetime.combine(TOMORROW, datetime.min.time(), UTC).timestamp() * 1000)
    fields = {"blueprint": "managed", "scheduled_for": midnight + round(hour * 3_600_000), **more}
    return people.id_of(await people.job(engine, who, service, at=at, **fields))


async def assign(engine: Engine, job: JobId, technician: Principal, command: str = "assign") -> None:
    """Give a job to a technician, as ops."""
    await jobs.run_command(engine, ADMIN, job, CommandInput(command=command, technician=technician.id))


async def holder_of(engine: Engine, job: JobId) -> str:
    """Return who holds the job."""
    return (await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "holder") or b"").decode()  # type: ignore[misc]


async def make_plan(engine: Engine, **changes: Any) -> DayPlan:
    """Ask for a plan of tomorrow and wait until it is computed."""
    request = PlanRequest(**{"zone": "main", "date": TOMORROW, "budget_s": 0.1, **changes})
    created = (await day_plans.create_plan(engine, ADMIN, request, key=None)).plan
    assert (created.state, created.groups) == ("computing", None)
    await asyncio.gather(*engine.background)
    return await day_plans.read_plan(engine, ADMIN, created.id)


async def refusal_of(engine: Engine, caller: Principal = ADMIN, **changes: Any) -> CalloutError:
    """Return the refusal of a plan."""
    request = PlanRequest(**{"zone": "main", "date": TOMORROW, **changes})
    with pytest.raises(CalloutError) as refused:
        await day_plans.create_plan(engine, caller, request, key=None)
    return refused.value


class Crossing:
    """Two technicians who each cross the city: one has jobs in the north at 9 and in the south at 12, the other the
    reverse.
    """

    def __init__(self, service: ServiceId, customer: Principal, who: list[Principal], jobs: list[JobId]) -> None:
        self.service, self.customer, self.who, self.jobs = service, customer, who, jobs

    async def holders(self, engine: Engine) -> list[str]:
        return [await holder_of(engine, job) for job in self.jobs]


async def create_crossing(engine: Engine) -> Crossing:
    """Create the technicians `a` and `b`, and the jobs: a: north at 9, south at 12; b: south at 9, north at 12."""
    service, customer = await people.service(engine), await people.customer(engine)
    who = [await people.technician(engine, name, service, at=None) for name in "ab"]
    made = []
    for technician, places in zip(who, ((NORTH, SOUTH), (SOUTH, NORTH)), strict=True):
        for hour, place in zip((9, 12), places, strict=True):
            made.append(await book_at(engine, customer, service, hour, place))
            await assign(engine, made[-1], technician)
    return Crossing(service, customer, who, made)


async def test_a_plan_that_cannot_be_is_refused(engine: Engine) -> None:
    """Only ops may ask for a plan. An unknown zone, a date that is over, an unknown technician and too many technicians
    are invalid, each with its field.
    """
    for caller in (
        Principal(UserId("a"), "technician"),
        Principal(UserId("c"), "customer"),
        Principal(UserId("s"), "service"),
    ):
        assert (await refusal_of(engine, caller)).code == "forbidden"
    assert (await refusal_of(engine, zone="nowhere")).errors[0][0] == "/zone"
    assert (await refusal_of(engine, date=date(2020, 1, 1))).errors[0][0] == "/date"
    assert (await refusal_of(engine, technicians=["ghost"])).errors[0][0] == "/technicians/0"
    assert (await refusal_of(engine, technicians=[f"t{n}" for n in range(201)])).errors[0][0] == "/technicians"


async def test_a_plan_that_is_not_there_is_not_applied(engine: Engine) -> None:
    """Only ops can see a plan. To apply a plan is refused: as `not_found` if it does not exist, as too early while it
    is being computed, as failed if its process has died, and as expired if it is too old.
    """
    await create_crossing(engine)
    for name in ("plan_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "plan_nowhere_01jb4zqk3m8r5t7v9x2c6d8f0g", "x"):
        for call in (day_plans.read_plan, day_plan_moves.apply_plan):
            with pytest.raises(CalloutError) as refused:
                await call(engine, ADMIN, name)
            assert refused.value.code == "not_found"
    found = await make_plan(engine)
    for call in (day_plans.read_plan, day_plan_moves.apply_plan):
        with pytest.raises(CalloutError) as refused:
            await call(engine, Principal(UserId("a"), "technician"), found.id)
        assert refused.value.code == "forbidden"

    async def code_of_apply() -> str:
        with pytest.raises(CalloutError) as refused:
            await day_plan_moves.apply_plan(engine, ADMIN, found.id)
        return refused.value.code

    key = keys.day_plan(DEFAULT_ZONE, found.id)
    await engine.store.redis.hset(key, mapping={"state": "computing", "until": now_ms() + 60_000})  # type: ignore[misc]
    assert await code_of_apply() == "too_early"
    await engine.store.redis.hset(key, "until", now_ms() - 1)  # type: ignore[misc]
    assert (await day_plans.read_plan(engine, ADMIN, found.id)).state == "failed"
    await engine.store.redis.hset(key, "state", "ready")  # type: ignore[misc]
    await advance(engine, 3_600_001)
    assert await code_of_apply() == "expired"


async def test_a_crossing_is_proposed_and_applied(engine: Engine) -> None:
    """Two technicians who cross the city needlessly exchange a job each, in one group, which saves their travel. The
    events are those of an ordinary reassignment, with the plan as the reason. A second application changes nothing.
    """
    scene = await create_crossing(engine)
    found = await make_plan(engine)
    assert found.state == "ready" and found.unserved == [] and found.groups is not None
    (group,) = found.groups
    assert group.saves_s > 600
    assert {(move.origin, move.target) for move in group.moves} == {("a", "b"), ("b", "a")}
    before = await event_log.events(engine)
    applied = await day_plan_moves.apply_plan(engine, ADMIN, found.id)
    assert (applied.applied, applied.refused) == ([0], [])
    after = await scene.holders(engine)
    assert after in (["a", "b", "b", "a"], ["b", "a", "a", "b"])
    new = (await event_log.events(engine))[len(before) :]
    told = [event for event in new if event.type == "job.assigned"]
    assert {event_log.payload(event)["job"]["id"] for event in told} == {move.job for move in group.moves}
    whole = [data for event in told if "actor" in (data := event_log.payload(event))]
    assert [data["reason"] for data in whole] == [f"day plan {found.id}"] * 2
    assert {event.actor for event in new} == {f"admin:{ADMIN.id}"}
    again = await day_plan_moves.apply_plan(engine, ADMIN, found.id)
    assert (again.applied, again.refused) == ([0], [])
    assert len(await event_log.events(engine)) == len(before) + len(new)
    assert (await day_plans.read_plan(engine, ADMIN, found.id)).state == "applied"
    for move in group.moves:  # a later step recognizes its own repeat
        await assign(engine, JobId(move.job), Principal(UserId(move.target), "technician"), "reassign")


async def test_a_group_is_applied_whole_or_not_at_all(engine: Engine) -> None:
    """If one job of a group has changed since the computation, no job of the group moves, and the refusal names the job
    and the reason.
    """
    scene = await create_crossing(engine)
    found = await make_plan(engine)
    assert found.groups is not None
    changed = found.groups[0].moves[-1].job
    holder = Principal(UserId(found.groups[0].moves[-1].origin or ""), "technician")
    await jobs.run_command(engine, holder, changed, CommandInput(command="accept"))
    before, head = await scene.holders(engine), len(await event_log.events(engine))
    refused = await day_plan_moves.apply_plan(engine, ADMIN, found.id)
    assert refused.applied == []
    assert [(each.group, each.job, each.code) for each in refused.refused] == [(0, changed, "version_conflict")]
    assert (await scene.holders(engine), len(await event_log.events(engine))) == (before, head)


async def test_what_came_into_the_day_refuses_the_group(engine: Engine) -> None:
    """A technician who may no longer work, or who has another booking at the time, gets no job from a plan. When the
    reason no longer applies, the same plan can be applied.
    """
    scene = await create_crossing(engine)
    found = await make_plan(engine)
    assert found.groups is not None
    move = found.groups[0].moves[0]

    async def codes() -> list[str]:
        return [each.code for each in (await day_plan_moves.apply_plan(engine, ADMIN, found.id)).refused]

    await change_record(engine, move.target, kyc="pending")
    assert await codes() == ["kyc_not_approved"]
    await change_record(engine, move.target, kyc="approved", services="other")
    assert await codes() == ["invalid"]
    await change_record(engine, move.target, services=scene.service)
    extra = await book_at(engine, scene.customer, scene.service, int(move.at[11:13]), metres_north(4_000))
    forced = CommandInput(command="assign", technician=move.target, force=True)
    await jobs.run_command(engine, ADMIN, extra, forced)
    assert await codes() == ["schedule_conflict"]
    await jobs.run_command(engine, ADMIN, extra, CommandInput(command="cancel"))
    assert await codes() == []


async def test_waiting_jobs_are_given_away_and_others_stay(engine: Engine) -> None:
    """A waiting job is given to a technician who has time. Other jobs do not move: a job of a service that nobody
    provides (it is unserved), a job whose customer has blocked the only technician, a job outside the working hours, a
    job of another day, and a job without a time.
    """
    service, other = await people.service(engine), await people.service(engine)
    who, customer, enemy = (
        await people.technician(engine, "a", service, at=None),
        *[await people.customer(engine) for _ in range(2)],
    )
    account = await staff.create_eligible_technician(engine, service, online=False)
    await blocks.put_block(engine, enemy, account.id)
    waiting = await book_at(engine, customer, service, 9, NORTH)
    unknown = await book_at(engine, customer, other, 9, NORTH)
    await book_at(engine, customer, service, 40, NORTH)
    await people.job(engine, customer, service, blueprint="managed")
    found = await make_plan(engine, technicians=[who.id])
    assert found.groups is not None
    assert [(move.job, move.origin, move.target) for group in found.groups for move in group.moves] == [
        (waiting, None, "a")
    ]
    assert found.unserved == [unknown]
    early = await book_at(engine, customer, service, 6, NORTH)
    hours = WorkingHours("UTC", tuple(WeekSpan(day, "08:00", "18:00") for day in range(1, 8)))
    await technician_schedules.put_hours(engine, ADMIN, account.id, hours)
    in_hours = await make_plan(engine, technicians=[account.id])
    assert early in (in_hours.unserved or []) and waiting not in (in_hours.unserved or [])
    blocked = await book_at(engine, enemy, service, 15, NORTH)
    assert blocked in ((await make_plan(engine, technicians=[account.id])).unserved or [])
    assert (await day_plan_moves.apply_plan(engine, ADMIN, found.id)).applied == [0]
    assert await holder_of(engine, waiting) == "a"


async def test_accepted_and_started_jobs_are_fixed(engine: Engine) -> None:
    """With `fixed` = `accepted` a job that its technician has accepted stays. Work that is under way always stays."""
    scene = await create_crossing(engine)
    for job, who in zip(scene.jobs, (0, 0, 1, 1), strict=True):
        await jobs.run_command(engine, scene.who[who], job, CommandInput(command="accept"))
    assert (await make_plan(engine, fixed="accepted")).groups == []
    assert len((await make_plan(engine, fixed="started")).groups or []) == 1
    for job in scene.jobs:
        await engine.store.redis.hset(keys.job(DEFAULT_ZONE, job), "phase", "active")  # type: ignore[misc]
    assert (await make_plan(engine, fixed="started")).groups == []
    for job in scene.jobs:
        await engine.store.redis.hset(keys.job(DEFAULT_ZONE, job), "phase", "assigned")  # type: ignore[misc]


async def test_a_request_is_done_once(engine: Engine) -> None:
    """A repeat with the same key returns the same plan; another request with this key is refused."""
    request = PlanRequest(zone="main", date=TOMORROW, budget_s=0.1)
    key = str(uuid.uuid4())
    first = await day_plans.create_plan(engine, ADMIN, request, key=key)
    again = await day_plans.create_plan(engine, ADMIN, request, key=key)
    assert (again.plan.id, again.repeated, first.repeated) == (first.plan.id, True, False)
    with pytest.raises(CalloutError) as refused:
        await day_plans.create_plan(engine, ADMIN, msgspec.structs.replace(request, fixed="accepted"), key=key)
    assert refused.value.code == "reused_key"
