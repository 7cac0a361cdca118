"""Read the events that a test has caused from the log of the zone ``main``."""

from __future__ import annotations

from typing import Any

import orjson

from engine.events import Event
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.zone import log


async def events(engine: Engine, kind: str | None = None, job: str | None = None, after: int = 0) -> list[Event]:
    """Return the events of the log with a seq greater than ``after``. With ``kind`` (an event type) or ``job``, return
    only those of this type and job, without the copies that contain only the public part of the job
    (``public_events``).
    """
    found = await log.read_range(engine.store.redis, DEFAULT_ZONE, after, 100_000)
    if kind is None and job is None:
        return found
    matching = [e for e in found if kind in (None, e.type) and (job is None or job.encode() in e.data)]
    return [e for e in matching if not is_public(e)]


async def read_head(engine: Engine) -> int:
    """Return the seq of the newest event of the log."""
    return (await log.read_head(engine.store.redis, DEFAULT_ZONE)).seq


async def public_events(engine: Engine, event_type: str, job: str) -> list[Event]:
    """Return the events of type ``event_type`` that contain only the public part of the job."""
    found = await log.read_range(engine.store.redis, DEFAULT_ZONE, 0, 100_000)
    return [e for e in found if e.type == event_type and job.encode() in e.data and is_public(e)]


async def clear(engine: Engine) -> None:
    """Delete all events of the log; the sequence numbers continue. A test of many rounds calls this so that each round
    reads only its own events. A zone does not open again after that: the archive has not copied these events.
    """
    await engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), maxlen=0)


def is_public(event: Event) -> bool:
    """Return whether the event is a ``job.*`` event that contains only the public part of the job."""
    job = payload(event).get("job") if event.type.startswith("job.") else None
    return isinstance(job, dict) and "version" in job and "customer" not in job


def payload(event: Event) -> Any:
    """Return the decoded payload of an event."""
    return orjson.loads(event.data)
