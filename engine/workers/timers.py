"""Timers of a job's state: warnings, commands that the engine runs, and the watchdog.

The scheduled task is `timer:<job>:<entered>:<name>`. lua/lib/job.lua creates the task when the job enters the state.
``name`` is the index of the timer in the blueprint's state, or ``w`` for the watchdog. ``entered`` is the job's version
when it entered the state: a timer does nothing after the job has left the state, even if the job has entered the same
state again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.blueprint import registry
from engine.blueprint.compiler import WATCHDOG_INTERVAL_S
from engine.blueprint.schema import Blueprint, Watch
from engine.domain import commands
from engine.store import keys
from engine.types import JobId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


async def run_timer(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    """Run a timer that is due. If the job has left the state, the script only removes the entry.

    Raises Unavailable if this process has not loaded the job's blueprint; the timer then stays due.
    """
    text, entered, name = task_arguments.split(":")
    job = JobId(text)
    bp, status = await engine.store.command("HMGET", keys.job(zone, job), "bp", "status")
    blueprint = registry.require_version(engine.blueprints, (bp or b"").decode())
    state = blueprint.states.get((status or b"").decode())
    if name == "w" and state is not None and state.watch is not None:
        await _run_watchdog(engine, zone, entry, job, entered, blueprint, state.watch)
        return
    timers = state.timers if state is not None else ()
    timer = timers[int(name)] if name.isdigit() and int(name) < len(timers) else None
    plan = engine.plans.find_plan(blueprint, timer.command) if timer else None
    if plan is not None:
        await commands.send_engine_command(engine, zone, job, blueprint, plan, entry, entered, reason="timer")
        return
    step = timer.warn if timer else ""
    audience = blueprint.audience("job.late")
    args = {"entry": entry, "bp": blueprint.key, "entered": entered, "step": step, "audience": audience}
    await engine.store.run(zone, "job_late", keys=_script_keys(zone, job), args=args)


async def report_overdue_job(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    """Emit ``job.late`` for a job whose promised arrival has passed (lua/lib/promise.lua), unless its technician is
    there. Raises Unavailable if this process has not loaded the job's blueprint.
    """
    job = JobId(task_arguments)
    bp = await engine.store.command("HGET", keys.job(zone, job), "bp")
    blueprint = registry.require_version(engine.blueprints, bp.decode()) if bp else None
    audience = blueprint.audience("job.late") if blueprint else ""
    args = {"entry": entry, "bp": (bp or b"").decode(), "audience": audience}
    await engine.store.run(zone, "job_overdue", keys=_script_keys(zone, job), args=args)


def _script_keys(zone: Zone, job: JobId) -> dict[str, str]:
    return {
        "meta": keys.zone_meta(zone),
        "job": keys.job(zone, job),
        "due": keys.due_tasks(zone),
        "log": keys.log(zone),
    }


async def _run_watchdog(
    engine: Engine, zone: Zone, entry: str, job: JobId, entered: str, blueprint: Blueprint, watch: Watch
) -> None:
    """Check the holder of a job. If the watchdog's time is over, release the job as the blueprint declares."""
    done = await engine.store.run(
        zone,
        "job_watch",
        keys=_script_keys(zone, job),
        args={
            "entry": entry,
            "entered": entered,
            "still_ms": round(watch.still_s * 1000),
            "still_m": watch.still_m,
            "away_m": watch.away_m,
            "dark_ms": round(watch.dark_s * 1000),
            "grace_ms": round(watch.grace_s * 1000),
            "every_ms": round(WATCHDOG_INTERVAL_S * 1000),
            "stalled_audience": blueprint.audience("job.stalled"),
            "dark_audience": blueprint.audience("job.dark"),
        },
    )
    if watch.release and done.values[0] == b"over":
        releases = (n for n, spec in blueprint.commands.items() if spec.effect == "release" and "engine" in spec.by)
        plan = engine.plans.find_plan(blueprint, next(releases, ""))
        if plan is not None:
            await commands.send_engine_command(engine, zone, job, blueprint, plan, entry, entered, reason="watchdog")
