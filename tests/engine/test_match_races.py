"""Races of matching windows: several runners work at the same time on views that are outdated, while people cancel,
decline, go online and offline, are suspended and are assigned by ops, and while jobs expire. A runner dies between view
and take, and a process is killed there. A technician who becomes free gets the waiting job in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.domain import jobs, matching
from engine.domain.commands import CommandInput
from engine.errors import CalloutError
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from engine.workers import scheduled_tasks, scheduler
from tests.support import blueprints, event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import metres_north, run_due_tasks

RUNNERS, TECHNICIANS, JOBS, DISTURBANCES = 3, 20, 40, 120
MAX_DELAY_S = 0.05
"""How old a view is at most when it is acted on."""
WINDOW_MS, MARGIN_MS = 1000, 100
"""The length of a window of ``brief``, and how much later than it a technician who becomes free has a waiting job."""
EXPIRES_S = 2.0
KILLED_RUNNER = """
import asyncio, sys
import msgspec
from engine.domain import matching
from engine.process.settings import Settings
from engine.startup import open_engine
from engine.types import DEFAULT_ZONE, ServiceId

async def stop_here(*_, **__):
    print("viewed", flush=True)
    await asyncio.Event().wait()

async def main():
    matching._assign = stop_here
    async with open_engine(msgspec.json.decode(sys.argv[1], type=Settings)) as engine:
        await matching.run_window(engine, DEFAULT_ZONE, "window:" + sys.argv[2], ServiceId(sys.argv[2]))

asyncio.run(main())
"""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with the blueprint `brief`: `managed`, but jobs expire after two seconds."""
    text = blueprints.edited_toml(
        "managed", {'name = "managed"': 'name = "brief"', "job_s = 3600": f"job_s = {EXPIRES_S:.0f}"}
    )
    return blueprints.settings_with_blueprints(settings, tmp_path / "blueprints", brief=text)


@pytest.fixture
def slow_views(monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """Let each window wait up to 50 ms between its view and its takes. Return the random generator."""
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
        """Make one random change. A refused command changes nothing."""
        job, number = self.draw.choice(self.jobs), self.draw.randrange(TECHNICIANS)
        who = people.technician_without_account(f"t{number}")
        with contextlib.suppress(CalloutError):
            match self.draw.randrange(8):
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
                case 7:
                    await self.expire(job)

    async def expire(self, job: JobId) -> None:
        """Move the clock forward, and end the job if its time is over."""
        await advance(self.engine, EXPIRES_S / 4)
        await scheduled_tasks.run_task(self.engine, DEFAULT_ZONE, f"expire:{job}")


async def assert_one_holder(engine: Engine, job: JobId) -> None:
    """Assert from the log that the job never had two holders, and that its version rose with each change."""
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
    await advance(engine, 91)  # nothing expires within a lease after the zone was opened
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
        booked = await people.job(engine, crowd.carla, crowd.service, blueprint="brief", at=place)
        crowd.jobs.append(people.id_of(booked))
        await asyncio.gather(*(crowd.disturb() for _ in range(DISTURBANCES // JOBS)))
    await asyncio.gather(*(crowd.expire(job) for job in crowd.jobs))
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
    assert await event_log.events(engine, "job.expired")


async def test_a_runner_that_dies_between_view_and_take_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner dies after its view. The view has reserved nothing: the window is due again, and the next runner assigns
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


async def test_a_runner_whose_process_is_killed_between_view_and_take_loses_nothing(engine: Engine) -> None:
    """SIGKILL ends another process after its view. The view has reserved nothing, and the next window assigns the
    job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    job = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    before = await event_log.read_head(engine)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        KILLED_RUNNER,
        msgspec.json.encode(engine.settings).decode(),
        service,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = []
    while b"viewed\n" not in lines:
        lines.append(await process.stdout.readline())
        assert lines[-1], b"".join(lines)  # the process ended
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert await event_log.read_head(engine) == before
    await advance(engine, 1.01)
    await run_due_tasks(engine)
    assert await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "holder") == b"tom"


async def hold_clock(engine: Engine, at_ms: int) -> None:
    """Let the zone's clock stand still at ``at_ms``, for nearly a second of this machine's time (lua/lib/clock.lua)."""
    skew = at_ms - 900 - round(time.time() * 1000)
    await engine.store.command("HSET", keys.zone_meta(DEFAULT_ZONE), "skew", skew, "now", at_ms, "offset", 0)


async def test_a_technician_who_becomes_free_has_a_waiting_job_within_a_window(engine: Engine) -> None:
    """By the times in the log, the assignment of the waiting job follows the event that frees the technician within one
    window and a tenth of a second. The window was idle before. The clock is moved to each due task.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    due = keys.due_tasks(DEFAULT_ZONE)
    first = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    await advance(engine, 1.01)
    await run_due_tasks(engine)
    second = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    await advance(engine, 5)
    await run_due_tasks(engine)
    now = int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"))
    assert float(await engine.store.command("ZSCORE", due, f"window:{service}")) - now > 10 * WINDOW_MS
    await hold_clock(engine, now + 1)
    await jobs.run_command(engine, people.ADMIN, first, CommandInput(command="cancel"))
    await hold_clock(engine, round(float(await engine.store.command("ZSCORE", due, f"window:{service}"))))
    await run_due_tasks(engine)
    [freed] = await event_log.events(engine, "job.cancelled", first)
    [assigned] = await event_log.events(engine, "job.assigned", second)
    assert 0 < assigned.at - freed.at <= WINDOW_MS + MARGIN_MS
