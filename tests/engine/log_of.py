"""Reading back what a test has caused."""

from __future__ import annotations

from typing import Any

import orjson

from engine.events import Event
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.zone import log


async def events(engine: Engine, kind: str | None = None, job: str | None = None) -> list[Event]:
    """All events of the zone, of one type and about one job where these are given; then without those that tell the
    same once more to somebody who may see the public part alone (``apart``).
    """
    found = await log.window(engine.store.redis, DEFAULT_ZONE, 0, 100_000)
    if kind is None and job is None:
        return found
    named = [e for e in found if kind in (None, e.type) and (job is None or job.encode() in e.data)]
    return [e for e in named if not is_apart(e)]


async def apart(engine: Engine, kind: str, job: str) -> list[Event]:
    """The events of a type about a job that hold its public part."""
    found = await log.window(engine.store.redis, DEFAULT_ZONE, 0, 100_000)
    return [e for e in found if e.type == kind and job.encode() in e.data and is_apart(e)]


async def forget(engine: Engine) -> None:
    """Empty the log, whose seqs go on: where a test has many rounds, each reads its own events alone."""
    await engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), maxlen=0)


def is_apart(event: Event) -> bool:
    """Whether an event tells of a job's step by its public part."""
    job = data(event).get("job") if event.type.startswith("job.") else None
    return isinstance(job, dict) and "version" in job and "customer" not in job


def data(event: Event) -> Any:
    """What an event says."""
    return orjson.loads(event.data)
