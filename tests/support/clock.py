"""Move a zone's clock. A zone's time is the time of its Redis server plus ``meta.skew`` (milliseconds), which only
tests set.
"""

from __future__ import annotations

from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE

ADVANCE_SCRIPT = "redis.call('HINCRBY', KEYS[1], 'skew', ARGV[1]) return redis.call('HINCRBY', KEYS[1], 'now', ARGV[1])"
"""A script and no transaction, because on a cluster redis-py leaves the connection of a transaction open."""


async def advance(engine: Engine, seconds: float) -> None:
    """Move the zone's clock forward by ``seconds`` as if the engine had run all the time, so no grace period begins.

    Both fields change in one step, because a script of a running server between two steps would see a gap.
    """
    meta, ms = keys.zone_meta(DEFAULT_ZONE), round(seconds * 1000)
    await engine.store.redis.eval(ADVANCE_SCRIPT, 1, meta, ms)  # type: ignore[misc]


async def advance_unobserved(engine: Engine, seconds: float) -> None:
    """Move the zone's clock forward by ``seconds`` in which no process ran, as when Redis or all processes of Callout
    are stopped. If this is more than 5 s, a grace period begins.
    """
    await engine.store.redis.hincrby(keys.zone_meta(DEFAULT_ZONE), "skew", round(seconds * 1000))
