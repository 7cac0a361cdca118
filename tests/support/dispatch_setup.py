"""Change the dispatch settings of a blueprint, and read which technicians received offers."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from engine.domain import job_history
from engine.runtime import Engine
from engine.store import keys
from engine.technicians.live import Coordinates
from engine.types import DEFAULT_ZONE, JobId, TechnicianId, UserId
from engine.workers import scheduler
from tests.support import event_log, people

LATITUDE_DEGREES_PER_M = 1 / 111_195  # on the sphere with which Redis computes distances


def metres_north(metres: float) -> Coordinates:
    """Return the position that is ``metres`` north of ``people.HERE``, where tests book their jobs."""
    return Coordinates(people.HERE.lat + metres * LATITUDE_DEGREES_PER_M, people.HERE.lon)


async def change_record(engine: Engine, name: str, **fields: Any) -> None:
    """Change fields of a technician's record in Redis, past the scripts and the supply index. A search then reads the
    record, because the technician has no summary any more.
    """
    technician = TechnicianId(UserId(name))
    await engine.store.redis.hset(keys.technician(DEFAULT_ZONE, technician), mapping=fields)
    await engine.store.redis.hdel(keys.technician_summaries(DEFAULT_ZONE), technician)


def set_dispatch(engine: Engine, **changes: Any) -> None:
    """Replace these dispatch settings in the default blueprint of the engine."""
    blueprints = engine.blueprints
    dispatch = msgspec.structs.replace(blueprints.default.dispatch, **changes)
    blueprints.default = msgspec.structs.replace(blueprints.default, dispatch=dispatch)
    blueprints.by_name[blueprints.default.name] = blueprints.by_key[blueprints.default.key] = blueprints.default


async def run_due_tasks(engine: Engine) -> None:
    """Run all scheduled tasks that are due now."""
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass


async def offered_technicians(engine: Engine, job: JobId) -> list[str]:
    """Return the ids of the technicians with a record of an offer of the job, open or closed, sorted."""
    return sorted(k.decode() for k in await engine.store.redis.hkeys(keys.job_offers(DEFAULT_ZONE, job)))


async def offer_audiences(engine: Engine, job: JobId) -> list[list[str]]:
    """Return the technicians in the audience of each ``offer.created`` of the job: one list for each event, in the
    order of the events.
    """
    created = await event_log.events(engine, "offer.created", job)
    return [sorted(channel.removeprefix("user:") for channel in event.to) for event in created]


async def exclusions(engine: Engine, job: JobId) -> dict[str, list[str]]:
    """Return the technicians that the waves of a job excluded, by the reason of the exclusion."""
    by_reason: dict[str, list[str]] = {}
    for wave in await job_history.waves(engine, people.ADMIN, job):
        for reason, excluded in orjson.loads(wave)["out"].items():
            by_reason.setdefault(reason, []).extend(excluded["technicians"])
    return {reason: sorted(set(names)) for reason, names in by_reason.items()}
