"""Changing how a blueprint looks for technicians, and seeing what came of it."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from engine.domain import job_queries
from engine.runtime import Engine
from engine.store import keys
from engine.technicians.live import Position
from engine.types import DEFAULT_ZONE, JobId
from engine.workers import scheduler
from tests.engine import log_of
from tests.support import people

METRE = 1 / 111_195  # of latitude, in degrees, on the sphere that Redis reckons with


def north(metres: float) -> Position:
    """So far north of where jobs are."""
    return Position(people.HERE.lat + metres * METRE, people.HERE.lon)


def dispatches(engine: Engine, **changes: Any) -> None:
    """Let the default blueprint look for technicians with these numbers."""
    known = engine.blueprints
    dispatch = msgspec.structs.replace(known.default.dispatch, **changes)
    known.default = msgspec.structs.replace(known.default, dispatch=dispatch)
    known.by_name[known.default.name] = known.by_key[known.default.key] = known.default


async def done(engine: Engine) -> None:
    """Do all that is due now."""
    while await scheduler.run_once(engine, DEFAULT_ZONE) == 0.0:
        pass


async def asked(engine: Engine, job: JobId) -> list[str]:
    """Whom a job has been offered to, sorted."""
    return sorted(k.decode() for k in await engine.store.redis.hkeys(keys.offers(DEFAULT_ZONE, job)))


async def told(engine: Engine, job: JobId) -> list[list[str]]:
    """Those who heard of their offer, event by event."""
    return [sorted(to.removeprefix("user:") for to in e.to) for e in await log_of.events(engine, "offer.created", job)]


async def left_out(engine: Engine, job: JobId) -> dict[str, list[str]]:
    """Why whom was not asked, over all looks."""
    out: dict[str, list[str]] = {}
    for look in await job_queries.waves(engine, people.ADMIN, job):
        for why, those in orjson.loads(look)["out"].items():
            out.setdefault(why, []).extend(those["technicians"])
    return {why: sorted(set(names)) for why, names in out.items()}
