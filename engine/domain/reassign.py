"""The jobs of a technician who is suspended: offered anew without him, as far as their blueprints let ops do that.

Each job is a step of its own, bound to the version at which he was seen to hold it, so that it may be begun again at
any point: what is his no longer is left alone. That it is to be done stands in the outbox until it is
(engine/identity/outbox.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.blueprint import registry
from engine.blueprint.schema import Blueprint
from engine.domain import jobs
from engine.domain.commands import Step
from engine.errors import Conflict, NotFound, Unavailable, VersionConflict
from engine.store import keys
from engine.types import JobId, Principal, Role, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

REASON = "suspended"
TRIES = 8


async def hand_over(engine: Engine, technician: TechnicianId, by: Principal) -> None:
    """Take every job from ``technician`` that may be taken from him; of the others ops are told.

    Raises Unavailable or Indeterminate, as the steps do: then it has to be done again.
    """
    for zone in engine.store.zones:
        held = await engine.store.command("SMEMBERS", keys.technician_jobs(zone, technician))
        for job in sorted(held):
            await _take(engine, zone, JobId(job.decode()), technician, by)


async def _take(engine: Engine, zone: Zone, job: JobId, technician: TechnicianId, by: Principal) -> None:
    fields = ("bp", "status", "holder", "version")
    for _ in range(TRIES):
        found = await engine.store.command("HMGET", keys.job(zone, job), *fields)
        bp, status, holder, version = ((part or b"").decode() for part in found)
        if holder != technician:
            return
        blueprint = registry.judged(engine.blueprints, bp)
        name = _release(blueprint, status)
        if name is None:
            return await _stays(engine, zone, job, technician, blueprint)
        try:
            await jobs.command(engine, by, job, Step(command=name, version=int(version), reason=REASON))
        except VersionConflict:
            continue
        except (Conflict, NotFound):  # frozen by a dispute, say
            return await _stays(engine, zone, job, technician, blueprint)
        return None
    raise Unavailable(f"{job} changes faster than it can be taken from {technician}")


def _release(blueprint: Blueprint, status: str) -> str | None:
    """The command by which ops take a job in this state from its holder, if there is one."""
    names = (n for n, c in blueprint.commands.items() if c.does == "release" and status in c.states(("ops",)))
    return next(names, None)


async def _stays(engine: Engine, zone: Zone, job: JobId, technician: TechnicianId, blueprint: Blueprint) -> None:
    told = blueprint.audience("job.stalled")
    names = {"meta": keys.meta(zone), "job": keys.job(zone, job), "log": keys.log(zone)}
    args = {"technician": technician, "step": REASON, "audience": told}
    await engine.store.run(zone, "job_stall", keys=names, args=args)


def orderer(text: str) -> Principal:
    """Who ordered it, from how the log names him (``role:id``)."""
    role, _, name = text.partition(":")
    named: Role = "admin" if role == "admin" else "ops_manager"
    return Principal(UserId(name), named)
