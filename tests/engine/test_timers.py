"""What happens automatically while a job is in a state: escalation timers, commands of the engine, the watchdog."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.domain import jobs, waves
from engine.domain.commands import Step
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import scheduler
from tests.support import blueprints, event_log, people
from tests.support.clock import advance, advance_unobserved

LADDER = """timers = [
  { after_s = 600, warn = "warn" }, { after_s = 1200, warn = "escalate" }, { after_s = 1800, command = "unassign" },
], """
WATCH = "watch = { still_s = 300, still_m = 100, away_m = 1000, dark_s = 100, grace_s = 60, release = true }, "
CHANGES = {
    'accepted = { phase = "assigned", ': f'accepted = {{ phase = "assigned", {LADDER}'.replace("\n", " "),
    'on_the_way = { phase = "active", ': f'on_the_way = {{ phase = "active", {WATCH}',
    '[commands.unassign]\nby = ["holder", "ops"]': '[commands.unassign]\nby = ["holder", "ops", "engine"]',
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """A blueprint with escalation timers on `accepted` and a watchdog on `on_the_way`."""
    text = blueprints.edited("home_service", CHANGES)
    events = "".join(
        f'\n[events."{kind}"]\nto = ["ops"]\n'
        for kind in ("job.late", "job.stalled", "job.dark")
        if f'[events."{kind}"]' not in text
    )
    return blueprints.settings_with(settings, tmp_path / "blueprints", home_service=text + events)


async def taken(engine: Engine) -> tuple[JobId, Principal]:
    """Create a job and its holder, 5 km away from it."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves, at=live.Position(40.70, -73.99))
    job = await people.offered(engine, carla, serves)
    await waves.open_wave(engine, DEFAULT_ZONE, job, 2)
    await jobs.claim(engine, tom, job)
    return job, tom


async def pass_by(engine: Engine, seconds: float) -> None:
    """Let time pass and run the tasks that are due."""
    await advance(engine, seconds)
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass


async def status(engine: Engine, job: JobId) -> bytes:
    """Return the job's status."""
    found: bytes = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "status")  # type: ignore[misc, assignment]
    return found


async def steps(engine: Engine, kind: str, job: JobId) -> list[str]:
    """Return the payloads of the events of this type that ops received, in order."""
    return [event_log.payload(event)["step"] for event in await event_log.events(engine, kind, job)]


async def test_a_job_that_moved_on_is_left_alone(engine: Engine) -> None:
    """Timers of a state that the job has left have no effect and are removed."""
    job, tom = await taken(engine)
    await jobs.run_command(engine, tom, job, Step(command="depart"))
    await live.store_fixes(engine, tom, "tom", [Fix(lat=40.71, lon=-73.99)])
    await jobs.run_command(engine, tom, job, Step(command="arrive"))
    await pass_by(engine, 1801)
    assert await steps(engine, "job.late", job) == []
    assert await status(engine, job) == b"reached"
    left = await engine.store.redis.zrange(keys.due_tasks(DEFAULT_ZONE), 0, -1)
    assert not [entry for entry in left if entry.startswith(b"timer:")]


async def test_the_ladder_warns_escalates_and_takes_the_job_away(engine: Engine) -> None:
    """Each timer fires once at its time; the last one is a command of the engine, in the history with its reason."""
    job, _ = await taken(engine)
    for seconds, told in ((601, ["warn"]), (600, ["warn", "escalate"])):
        await pass_by(engine, seconds)
        assert await steps(engine, "job.late", job) == told
    assert await status(engine, job) == b"accepted"
    await pass_by(engine, 600)
    assert await status(engine, job) == b"broadcasted"
    gone = event_log.payload((await event_log.events(engine, "job.unassigned", job))[0])
    assert (gone["actor"]["id"], gone["reason"], gone["job"]["technician"]) == ("engine", "timer", None)


async def test_a_pause_takes_no_job_away(engine: Engine) -> None:
    """Nobody can act during a pause, so commands of timers wait one lease longer."""
    job, _ = await taken(engine)
    await advance_unobserved(engine, 1900)
    await pass_by(engine, 1)
    assert await status(engine, job) == b"accepted"
    await pass_by(engine, 95)
    await pass_by(engine, 10)
    assert await status(engine, job) == b"broadcasted"


async def on_the_way(engine: Engine, minutes: int, path: list[tuple[float, float]]) -> JobId:
    """Create a holder who is on the way and sends a fix each 30 s of the path, then repeats its last one."""
    job, tom = await taken(engine)
    await jobs.run_command(engine, tom, job, Step(command="depart"))
    for tick in range(minutes * 2):
        if path:
            lat, lon = path[min(tick, len(path) - 1)]
            await live.store_fixes(engine, tom, "tom", [Fix(lat=lat, lon=lon)])
        await pass_by(engine, 30.5)
    return job


async def test_who_drives_on_is_left_alone(engine: Engine) -> None:
    """A holder who comes nearer all the time, or stands at the door, causes no alarm."""
    near = [(40.70 + i * 0.005, -73.99) for i in range(11)]
    job = await on_the_way(engine, 12, near)
    assert await status(engine, job) == b"on_the_way"
    assert await event_log.events(engine, "job.stalled", job) == [] == await event_log.events(engine, "job.dark", job)


@pytest.mark.parametrize(
    ("path", "kind", "reason"),
    [
        ([(40.70, -73.99)], "job.stalled", "still"),
        ([(40.70 - i * 0.004, -73.99) for i in range(40)], "job.stalled", "away"),
        ([], "job.dark", "dark"),
    ],
)
async def test_who_does_not_come_is_told_of_and_replaced(
    engine: Engine, path: list[tuple[float, float]], kind: str, reason: str
) -> None:
    """A holder who stands still, moves away or sends no fix is reported once, when noticed twice; after the grace
    period the job is offered again.
    """
    job = await on_the_way(engine, 9, path)
    told = await event_log.events(engine, kind, job)
    assert [event_log.payload(event)["reason"] for event in told] == [reason]
    assert await status(engine, job) in (b"broadcasted", b"expired")
    gone = event_log.payload((await event_log.events(engine, "job.unassigned", job))[0])
    assert gone["reason"] == "watchdog"
