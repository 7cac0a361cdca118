"""Moving a zone's clock: time is the server's, and a test can set it (``meta.skew``)."""

from __future__ import annotations

from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE


async def forward(engine: Engine, seconds: float) -> None:
    """Let ``seconds`` pass for the zone, as if somebody had been awake all the time (no grace begins)."""
    meta, ms = keys.meta(DEFAULT_ZONE), round(seconds * 1000)
    await engine.store.redis.hincrby(meta, "skew", ms)
    await engine.store.redis.hincrby(meta, "now", ms)


async def sleep_through(engine: Engine, seconds: float) -> None:
    """Let ``seconds`` pass unseen, as when Redis or all our processes were stopped."""
    await engine.store.redis.hincrby(keys.meta(DEFAULT_ZONE), "skew", round(seconds * 1000))
