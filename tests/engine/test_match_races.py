"""Matching windows in a moving world: several runners at once, on views that are old, while people cancel, decline,
come and go, are suspended and are assigned by hand; and a runner that dies between view and take.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import pytest

from engine.domain import jobs, matching
from engine.domain.commands import CommandInput
from engine.errors import CalloutError
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import metres_north, run_due_tasks

RUNNERS, TECHNICIANS, JOBS, DISTURBANCES = 3, 20, 40, 120
MAX_DELAY_S = 0.05
"""How old a view is at most when it is acted on."""


@pytest.fixture
def slow_views(monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """Let each window wait up to 50 ms between its view and its takes. Return the source of chance."""
    draw, assign = random.Random(7), matching._assign

    async def assign_later(*args: Any, **more: Any) -> None:
        await asyncio.sleep(draw.uniform(0, MAX_DELAY_S))
        await assign(*args, **more)

    monkeypatch.setattr(matching, "_assign", assign_later)
    return draw


class Crowd:
    """Customers, ops and technicians who change things while windows run."""

    def __init__(self, engine: Engine, service: ServiceId, carla: Principal, draw: random.Random) -> None:
        self.engine, self.service, self.carla, self.draw = engine, service, carla, draw
        self.jobs: list[JobId] = []

    async def write_technician(self, number: int, *, capacity: int, account: str = "approved") -> None:
        """Write a technician's record, and put them online somewhere."""
        name, position = f"t{number}", metres_north(self.draw.uniform(-2_000, 2_000))
        await people.technician(
            self.engine, name, self.service, at=None, capacity=capacity, account=account, version=self.draw.randrange(9)
        )
        who = people.technician_without_account(name)
        await live.set_availability(self.engine, who, name, online=True, position=position)

    async def disturb(self) -> None:
        """Change one thing; whatever is refused has changed nothing."""
        job, number = self.draw.choice(self.jobs), self.draw.randrange(TECHNICIANS)
        who = people.technician_without_account(f"t{number}")
        with contextlib.suppress(CalloutError):
            match self.draw.randrange(7):
                case 0:
                    await jobs.run_command(self.engine, people.ADMIN, job, CommandInput(command="cancel"))
                case 1:
                    holder = await self.engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "holder") or b""
                    declining = Principal(UserId(holder.decode()), "technician", "T")
                    await jobs.run_command(self.engine, declining, job, CommandInput(command="decline"))
                case 2:
                    await live.set_availability(self.engine, who, f"t{number}", online=False)
                case 3:
                    await live.set_availability(
                        self.engine, who, f"t{number}", online=True, position=metres_north(self.draw.uniform(0, 500))
                    )
                case 4:
                    await self.write_technician(number, capacity=1, account="suspended")
                case 5:
                    await self.write_technician(number, capacity=self.draw.randint(1, 2))
                case 6:
                    command = CommandInput(command="assign", technician=f"t{number}")
                    await jobs.run_command(self.engine, people.ADMIN, job, command)


async def assert_one_holder(engine: Engine, job: JobId) -> None:
    """Assert by the log alone that the job never had two holders, and that its version rose with each change."""
    holder, version = "", 0
    for event in await event_log.events(engine, job=job):
        found = event_log.payload(event).get("job", {})
        if "version" not in found:
            continue
        assert found["version"] > version, event
        version = found["version"]
        now = (found["technician"] or {}).get("id", "")
        assert not holder or not now or now == holder or event_log.payload(event).get("former"), event
        holder = now


async def test_three_runners_in_a_moving_world_give_no_job_twice(engine: Engine, slow_views: random.Random) -> None:
    """Three runners match 40 jobs with 20 technicians on views up to 50 ms old, while 120 disturbances happen. No job
    has two holders, each technician's load is the number of jobs that they hold, and stale proposals are counted by
    reason.
    """
    crowd = Crowd(engine, await people.service(engine), await people.customer(engine), slow_views)
    for number in range(TECHNICIANS):
        await crowd.write_technician(number, capacity=slow_views.randint(1, 2))
    entry, done = f"window:{crowd.service}", asyncio.Event()

    async def run_windows() -> None:
        while not done.is_set():
            await matching.run_window(engine, DEFAULT_ZONE, entry, crowd.service)

    runners = [asyncio.create_task(run_windows()) for _ in range(RUNNERS)]
    for _ in range(JOBS):
        place = metres_north(slow_views.uniform(-2_000, 2_000))
        booked = await people.job(engine, crowd.carla, crowd.service, blueprint="managed", at=place)
        crowd.jobs.append(people.id_of(booked))
        await asyncio.gather(*(crowd.disturb() for _ in range(DISTURBANCES // JOBS)))
    await asyncio.sleep(3 * MAX_DELAY_S)
    done.set()
    await asyncio.gather(*runners)
    for job in crowd.jobs:
        await assert_one_holder(engine, job)
    held = Counter[str]()
    for job in crowd.jobs:
        holder, freed = await engine.store.command("HMGET", keys.job(DEFAULT_ZONE, job), "holder", "freed")
        held[(holder or b"").decode()] += freed is None
    for number in range(TECHNICIANS):
        record = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(f"t{number}")))
        load = await engine.store.command("HGET", record, "load")
        assert int(load or 0) == held[f"t{number}"] == await engine.store.command("SCARD", f"{record}:jobs")
    counted = {
        sample.labels["outcome"]: sample.value
        for metric in engine.metrics.registry.collect()
        if metric.name == "callout_matches"
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted["taken"] >= JOBS / 4 and len(counted) > 1, counted


async def test_a_runner_that_dies_between_view_and_take_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner dies after its view. Nothing was reserved for it: the window is due again, and the next runner assigns
    the job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    job = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    await advance(engine, 1.01)
    viewed = asyncio.Event()

    async def stop_here(*_: Any, **__: Any) -> None:
        viewed.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(matching, "_assign", stop_here)
        runner = asyncio.create_task(scheduler.run_once(engine, DEFAULT_ZONE))
        await viewed.wait()
        runner.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await runner
    await run_due_tasks(engine)
    assert await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "holder") == b""
    await advance(engine, 10)
    await run_due_tasks(engine)
    assert await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "holder") == b"tom"
