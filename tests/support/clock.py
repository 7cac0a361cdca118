"""Move a zone's clock. Time is the server's, and a test can set it (``meta.skew``)."""

from __future__ import annotations

from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE


async def advance(engine: Engine, seconds: float) -> None:
    """Let ``seconds`` pass for the zone while the engine seems to run all the time: no grace period begins."""
    meta, ms = keys.zone_meta(DEFAULT_ZONE), round(seconds * 1000)
    await engine.store.redis.hincrby(meta, "skew", ms)
    await engine.store.redis.hincrby(meta, "now", ms)


async def advance_unobserved(engine: Engine, seconds: float) -> None:
    """Let ``seconds`` pass that no process observes, as when Redis or all processes of Callout are stopped."""
    await engine.store.redis.hincrby(keys.zone_meta(DEFAULT_ZONE), "skew", round(seconds * 1000))
