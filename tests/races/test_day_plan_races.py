"""Day plans are applied while other commands assign, move and release the same jobs: no technician gets two jobs at the
same time, and no job gets two technicians.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from engine.domain import day_plan_moves, day_plans, jobs
from engine.domain.commands import CommandInput
from engine.domain.day_plans import PlanRequest
from engine.errors import CalloutError
from engine.events import Event, parse_log_entry
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId
from server.simulation.overlap_checker import OverlapChecker
from tests.races.overlaps import change_of, zone_checker
from tests.support import people
from tests.support.dispatch_setup import metres_north
from tests.support.people import ADMIN

ROUNDS, JOBS, TECHNICIANS, WRITERS, STEPS = 3, 24, 6, 3, 10
TOMORROW = datetime.now(UTC).date() + timedelta(days=1)
MIDNIGHT_MS = round(datetime.combine(TOMORROW, datetime.min.time(), UTC).timestamp() * 1000)


class City:
    """Technicians, and booked jobs of tomorrow."""

    def __init__(self, engine: Engine, customer: Principal, service: ServiceId, crowd: list[Principal]) -> None:
        self.engine, self.customer, self.service, self.crowd = engine, customer, service, crowd
        self.draw = random.Random(17)
        self.jobs: list[JobId] = []
        self.counts: Counter[str] = Counter()

    async def book(self) -> None:
        """Book a job of tomorrow, and assign it to the first of three random technicians who has time, if any."""
        when = MIDNIGHT_MS + self.draw.randrange(8 * 60, 18 * 60) * 60_000
        fields = {"blueprint": "managed", "scheduled_for": when, "duration_min": self.draw.choice((20, 40))}
        place = metres_north(self.draw.randrange(9_000))
        job = people.id_of(await people.job(self.engine, self.customer, self.service, at=place, **fields))
        self.jobs.append(job)
        for who in self.draw.sample(self.crowd, 3):
            if await self.send(job, command="assign", technician=who.id) == "done":
                return

    async def send(self, job: JobId, **step: Any) -> str:
        """Send a command as ops and return its outcome: a code or `done`."""
        try:
            await jobs.run_command(self.engine, ADMIN, job, CommandInput(**step))
        except CalloutError as error:
            return error.code
        return "done"

    async def disturb(self) -> None:
        """Assign, move, release and book jobs at random."""
        for _ in range(STEPS):
            job, who = self.draw.choice(self.jobs), self.draw.choice(self.crowd)
            way = self.draw.choice(("assign", "reassign", "unassign", "book"))
            if way == "book":
                await self.book()
            elif way == "unassign":
                self.counts[await self.send(job, command=way, reason="r")] += 1
            else:
                self.counts[await self.send(job, command=way, technician=who.id)] += 1
            await asyncio.sleep(0)

    async def apply(self, plan: str) -> None:
        """Apply a plan and count its groups."""
        done = await day_plan_moves.apply_plan(self.engine, ADMIN, plan)
        self.counts["applied"] += len(done.applied)
        self.counts["refused"] += len(done.refused)


async def read_steps(engine: Engine) -> list[list[Event]]:
    """Return the events of the log, grouped by the script call that wrote them. The first event of a call has the jobs'
    states.
    """
    steps: list[list[Event]] = [[]]
    for entry, fields in await engine.store.redis.xrange(keys.log(DEFAULT_ZONE)):
        event = parse_log_entry(DEFAULT_ZONE, entry, fields, with_state=True)
        if event.state:
            steps.append([])
        steps[-1].append(event)
    return steps


def moved_job(event: Event) -> str | None:
    """Return the job that a day plan moves by this event."""
    data = msgspec.json.decode(event.data)
    return str(data["job"]["id"]) if str(data.get("reason")).startswith("day plan ") else None


def check_log(steps: list[list[Event]]) -> tuple[OverlapChecker, int]:
    """Check the log. In a group of a plan, the jobs that technicians give up are removed before the jobs that they get
    are added. Return the checker and the size of the largest group.
    """
    checker, largest = zone_checker(), 0
    for step in steps:
        moved = {job for event in step if (job := moved_job(event))}
        largest = max(largest, len(moved))
        checker.follow([change_of(event) for event in step])
    return checker, largest


async def test_plans_are_applied_to_a_moving_world(engine: Engine) -> None:
    """Two managers apply each plan at the same time, while three writers move the same jobs. The log has no pair of
    jobs of one technician without travel time and buffer between them. Each job is only in the set and the schedule of
    its holder. Some groups are applied, and groups with a changed job are refused.
    """
    service, customer = await people.service(engine), await people.customer(engine)
    crowd = [await people.technician(engine, f"t{n}", service, capacity=1_000, at=None) for n in range(TECHNICIANS)]
    city = City(engine, customer, service, crowd)
    for _ in range(JOBS):
        await city.book()
    names = [who.id for who in crowd]
    for _ in range(ROUNDS):
        request = PlanRequest(zone="main", date=TOMORROW, technicians=list(names), budget_s=0.3)
        plan = (await day_plans.create_plan(engine, ADMIN, request, key=None)).plan.id
        await asyncio.gather(*engine.background)
        groups = (await day_plans.read_plan(engine, ADMIN, plan)).groups
        assert groups
        gone = JobId(groups[-1].moves[0].job)
        city.jobs.remove(gone)
        assert await city.send(gone, command="cancel", reason="r") == "done"
        await asyncio.gather(*(city.disturb() for _ in range(WRITERS)), city.apply(plan), city.apply(plan))
    checker, largest = check_log(await read_steps(engine))
    assert checker.overlaps == []
    assert checker.compared > 100 and largest > 1
    assert city.counts["applied"] > 0 < city.counts["refused"], city.counts
    holders = {job: await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "holder") for job in city.jobs}  # type: ignore[misc]
    for who in crowd:
        me = TechnicianId(who.id)
        mine = {job.encode() for job, holder in holders.items() if holder == who.id.encode()}
        schedule = await engine.store.redis.zrange(keys.technician_schedule(DEFAULT_ZONE, me), 0, -1)
        assert await engine.store.redis.smembers(keys.technician_jobs(DEFAULT_ZONE, me)) == mine  # type: ignore[misc]
        assert {member.split(b" ")[1] for member in schedule} == mine
        assert {job.encode() for job in checker.held.get(who.id, {})} == mine
