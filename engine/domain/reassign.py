"""Release the jobs of a suspended technician, so that the jobs are offered to other technicians, if the jobs'
blueprints allow ops to release a job.

Each job is released by a separate step, which requires the version at which the technician held the job. Therefore the
procedure can be repeated from any point: a job that they do not hold any more does not change. The row that orders the
release stays in the outbox until all jobs are released (engine/identity/outbox.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.blueprint import registry
from engine.blueprint.schema import Blueprint
from engine.domain import jobs
from engine.domain.commands import CommandInput
from engine.errors import Conflict, NotFound, Unavailable, VersionConflict
from engine.store import keys
from engine.types import JobId, Principal, TechnicianId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

RELEASE_REASON = "suspended"
MAX_ATTEMPTS = 8


async def release_jobs(engine: Engine, technician: TechnicianId, caller: Principal) -> None:
    """Release every job of ``technician`` that ops may release. For each other job, ops receive ``job.stalled``.

    Raises Unavailable or Indeterminate if a step raises it; the caller must then repeat the call.
    """
    for zone in engine.store.zones:
        jobs_held = await engine.store.command("SMEMBERS", keys.technician_jobs(zone, technician))
        for job in sorted(jobs_held):
            await _release_job(engine, zone, JobId(job.decode()), technician, caller)


async def _release_job(engine: Engine, zone: Zone, job: JobId, technician: TechnicianId, caller: Principal) -> None:
    fields = ("bp", "status", "holder", "version")
    for _ in range(MAX_ATTEMPTS):
        values = await engine.store.command("HMGET", keys.job(zone, job), *fields)
        bp, status, holder, version = ((value or b"").decode() for value in values)
        if holder != technician:
            return
        blueprint = registry.require_version(engine.blueprints, bp)
        name = _release_command(blueprint, status)
        if name is None:
            return await _report_stall(engine, zone, job, technician, blueprint)
        try:
            await jobs.run_command(
                engine, caller, job, CommandInput(command=name, version=int(version), reason=RELEASE_REASON)
            )
        except VersionConflict:
            continue
        except (Conflict, NotFound):  # for example frozen by a dispute
            return await _report_stall(engine, zone, job, technician, blueprint)
        return None
    raise Unavailable(f"{job} changes faster than it can be released from {technician}")


def _release_command(blueprint: Blueprint, status: str) -> str | None:
    """Return the name of the command by which ops release a job in this state from its holder; None if the blueprint
    has no such command.
    """
    names = (n for n, c in blueprint.commands.items() if c.effect == "release" and status in c.from_states(("ops",)))
    return next(names, None)


async def _report_stall(engine: Engine, zone: Zone, job: JobId, technician: TechnicianId, blueprint: Blueprint) -> None:
    names = {"meta": keys.zone_meta(zone), "job": keys.job(zone, job), "log": keys.log(zone)}
    args = {"technician": technician, "step": RELEASE_REASON, "audience": blueprint.audience("job.stalled")}
    await engine.store.run(zone, "job_stall", keys=names, args=args)
