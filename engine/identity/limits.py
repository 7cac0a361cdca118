"""Rate limits. A *meter* counts the requests of one caller under one limit, by the generic cell rate algorithm (GCRA).
The meters are in Redis, so that all gateways share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.errors import Indeterminate, RateLimited, Unavailable
from engine.store import keys

if TYPE_CHECKING:
    from engine.runtime import Engine


class Limit(msgspec.Struct, frozen=True):
    """A rate limit: ``count`` requests in ``period_s`` seconds on average, all of which may come at once."""

    name: str
    count: int
    period_s: float


class Allowance(msgspec.Struct, frozen=True):
    """What a rate limit still allows after a request: how many requests now, and in how many seconds the full number
    again.
    """

    remaining: int
    reset_s: float


LIMITS: dict[str, Limit] = {
    limit.name: limit
    for limit in (
        Limit("requests", 20, 1),
        Limit("claims", 10, 1),
        Limit("chat", 100, 60),
        Limit("typing", 1, 1),
        Limit("fixes", 2, 1),
        Limit("login", 10, 60),
        Limit("presence", 1, 1),
        Limit("preview", 1, 1),
        Limit("quotes", 10, 60),
        Limit("slots", 10, 60),
        Limit("webhooks", 100, 1),
        Limit("verify", 20, 60),
        Limit("files", 20, 60),
        Limit("shares", 10, 3600),
        Limit("exports", 10, 3600),
        Limit("erasure", 10, 3600),
    )
}
"""The limits of PROTOCOL §6, by name."""


def count_at(limit: Limit, counted_until: float, now: float) -> float:
    """Count one request at ``now`` (s) in a meter in memory. A meter is a time (s), which each request moves forward by
    ``limit.period_s / limit.count``. ``counted_until`` is the time before the request; the time after it is returned.
    Raises RateLimited if that time is later than ``now``.
    """
    at = max(counted_until, now - limit.period_s) + limit.period_s / limit.count
    if at > now:
        raise RateLimited(retry_after=round(at - now, 3))
    return at


async def count_request(engine: Engine, counted: str, limit: Limit) -> Allowance:
    """Count one request of ``counted``, which names a user or an address. Raises RateLimited, with ``retry_after`` in
    seconds, if the request exceeds ``limit``. Counts nothing if limits are off.
    """
    if engine.settings.limits == "off":
        return Allowance(limit.count, 0.0)
    names = {"meter": keys.rate_limit(counted, limit.name)}
    args = {"interval_ms": limit.period_s * 1000 / limit.count, "burst": limit.count}
    try:
        done = await engine.store.run_for_user("limit_take", keys=names, args=args)
    except Indeterminate as error:  # the request may have been counted, but has not begun
        raise Unavailable(error.detail) from error
    except RateLimited as error:
        error.retry_after = int(error.reply[0]) / 1000
        raise
    return Allowance(int(done.values[0]), int(done.values[1]) / 1000)
