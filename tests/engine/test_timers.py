"""Tests of what the engine does by itself while a job is in a state: escalation timers, commands by the engine, and the
watchdog.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.domain import jobs, waves
from engine.domain.commands import CommandInput
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import scheduler
from tests.support import blueprints, event_log, people
from tests.support.clock import advance, advance_unobserved

ESCALATION_TIMERS = """timers = [
  { after_s = 600, warn = "warn" }, { after_s = 1200, warn = "escalate" }, { after_s = 1800, command = "unassign" },
], """
WATCHDOG_TOML = "watch = { still_s = 300, still_m = 100, away_m = 1000, dark_s = 100, grace_s = 60, release = true }, "
BLUEPRINT_CHANGES = {
    'accepted = { phase = "assigned", ': f'accepted = {{ phase = "assigned", {ESCALATION_TIMERS}'.replace("\n", " "),
    'on_the_way = { phase = "active", ': f'on_the_way = {{ phase = "active", {WATCHDOG_TOML}',
    '[commands.unassign]\nby = ["holder", "ops"]': '[commands.unassign]\nby = ["holder", "ops", "engine"]',
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a blueprint that has escalation timers on `accepted` and a watchdog on `on_the_way`."""
    text = blueprints.edited_toml("home_service", BLUEPRINT_CHANGES)
    events = "".join(
        f'\n[events."{kind}"]\nto = ["ops"]\n'
        for kind in ("job.late", "job.stalled", "job.dark")
        if f'[events."{kind}"]' not in text
    )
    return blueprints.settings_with_blueprints(settings, tmp_path / "blueprints", home_service=text + events)


async def create_claimed_job(engine: Engine) -> tuple[JobId, Principal]:
    """Create a job and claim it as tom, who is 5 km away. Return the job's id and tom."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, at=live.Coordinates(40.70, -73.99))
    job = await people.offered_job(engine, carla, service)
    await waves.open_wave(engine, DEFAULT_ZONE, job, 2)
    await jobs.claim(engine, tom, job)
    return job, tom


async def advance_and_run_tasks(engine: Engine, seconds: float) -> None:
    """Advance the zone's clock by `seconds` and run the scheduled tasks that are due."""
    await advance(engine, seconds)
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass


async def read_status(engine: Engine, job: JobId) -> bytes:
    """Return the job's status."""
    status: bytes = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "status")  # type: ignore[misc, assignment]
    return status


async def read_steps(engine: Engine, event_type: str, job: JobId) -> list[str]:
    """Return the `step` of each event of this type about the job, in the order of the log."""
    return [event_log.payload(event)["step"] for event in await event_log.events(engine, event_type, job)]


async def test_timers_of_a_former_state_have_no_effect(engine: Engine) -> None:
    """The timers of a state that the job has left send nothing and are removed from the scheduled tasks."""
    job, tom = await create_claimed_job(engine)
    await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    await live.store_fixes(engine, tom, "tom", [Fix(lat=40.71, lon=-73.99)])
    await jobs.run_command(engine, tom, job, CommandInput(command="arrive"))
    await advance_and_run_tasks(engine, 1801)
    assert await read_steps(engine, "job.late", job) == []
    assert await read_status(engine, job) == b"reached"
    due_tasks = await engine.store.redis.zrange(keys.due_tasks(DEFAULT_ZONE), 0, -1)
    assert not [entry for entry in due_tasks if entry.startswith(b"timer:")]


async def test_the_timers_warn_escalate_and_unassign(engine: Engine) -> None:
    """Each escalation timer fires once at its time: `warn`, `escalate`, then `unassign` by the engine with the reason
    `timer`.
    """
    job, _ = await create_claimed_job(engine)
    for seconds, steps in ((601, ["warn"]), (600, ["warn", "escalate"])):
        await advance_and_run_tasks(engine, seconds)
        assert [step for step in await read_steps(engine, "job.late", job) if step != "promise"] == steps
    assert await read_status(engine, job) == b"accepted"
    await advance_and_run_tasks(engine, 600)
    assert await read_status(engine, job) == b"broadcasted"
    payload = event_log.payload((await event_log.events(engine, "job.unassigned", job))[0])
    assert (payload["actor"]["id"], payload["reason"], payload["job"]["technician"]) == ("engine", "timer", None)


async def test_a_pause_delays_the_command_of_a_timer(engine: Engine) -> None:
    """After a pause of the zone the command of a timer waits one lease longer, because nobody could act during the
    pause.
    """
    job, _ = await create_claimed_job(engine)
    await advance_unobserved(engine, 1900)
    await advance_and_run_tasks(engine, 1)
    assert await read_status(engine, job) == b"accepted"
    await advance_and_run_tasks(engine, 95)
    await advance_and_run_tasks(engine, 10)
    assert await read_status(engine, job) == b"broadcasted"


async def create_job_on_the_way(engine: Engine, minutes: int, path: list[tuple[float, float]]) -> JobId:
    """Create a job whose holder is on the way for `minutes`. Each 30 s the holder sends the next fix of `path`, and
    after the end of the path its last fix; an empty path sends none. Return the job's id.
    """
    job, tom = await create_claimed_job(engine)
    await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    for tick in range(minutes * 2):
        if path:
            lat, lon = path[min(tick, len(path) - 1)]
            await live.store_fixes(engine, tom, "tom", [Fix(lat=lat, lon=lon)])
        await advance_and_run_tasks(engine, 30.5)
    return job


async def test_a_holder_who_approaches_causes_no_alarm(engine: Engine) -> None:
    """A holder who comes nearer all the time, or waits at the door, causes neither `job.stalled` nor `job.dark`."""
    path = [(40.70 + i * 0.005, -73.99) for i in range(11)]
    job = await create_job_on_the_way(engine, 12, path)
    assert await read_status(engine, job) == b"on_the_way"
    assert await event_log.events(engine, "job.stalled", job) == [] == await event_log.events(engine, "job.dark", job)


@pytest.mark.parametrize(
    ("path", "kind", "reason"),
    [
        ([(40.70, -73.99)], "job.stalled", "still"),
        ([(40.70 - i * 0.004, -73.99) for i in range(40)], "job.stalled", "away"),
        ([], "job.dark", "dark"),
    ],
)
async def test_the_watchdog_reports_and_replaces_a_holder_who_does_not_come(
    engine: Engine, path: list[tuple[float, float]], kind: str, reason: str
) -> None:
    """The watchdog reports a holder who stands still, moves away or sends no fix once, after two checks. After the
    grace period the engine unassigns them and the job is offered again.
    """
    job = await create_job_on_the_way(engine, 9, path)
    events = await event_log.events(engine, kind, job)
    assert [event_log.payload(event)["reason"] for event in events] == [reason]
    assert await read_status(engine, job) in (b"broadcasted", b"expired")
    payload = event_log.payload((await event_log.events(engine, "job.unassigned", job))[0])
    assert payload["reason"] == "watchdog"
