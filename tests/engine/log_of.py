"""Reading back what a test has caused."""

from __future__ import annotations

from typing import Any

import orjson

from engine import log
from engine.events import Event
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE


async def events(engine: Engine, kind: str | None = None, job: str | None = None) -> list[Event]:
    """All events of the zone, of one type and about one job where these are given."""
    found = await log.window(engine.store.redis, DEFAULT_ZONE, 0, 100_000)
    return [e for e in found if kind in (None, e.type) and (job is None or job.encode() in e.data)]


def data(event: Event) -> Any:
    """What an event says."""
    return orjson.loads(event.data)
