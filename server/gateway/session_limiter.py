"""Limits on one session that sends too many requests: it is refused here without a call to Redis, and closed if it
continues.

The rate limits are counted in Redis, for all gateways (engine/identity/limits.py). When Redis has refused a request
until some time, this gateway refuses the same kind of request until that time. A flood then costs its gateway some
microseconds a message, and Redis nothing.
"""

from __future__ import annotations

from engine.errors import RateLimited
from engine.identity.limits import Limit, count_at

PING_LIMIT = Limit("pings", 20, 1)
"""The limit for the pings of one session. Pings and fixes are counted here: a call to Redis would cost more than the
ping, and twice as much as the fix.
"""

MAX_REFUSALS, REFUSALS_WITHIN_S = 100, 10.0
"""After this many refused messages in this many seconds the session is closed with 4010: a client that waits for
``retry_after`` cannot reach this number.
"""


class SessionLimiter:
    """The recent refusals and pings of one session. Times are seconds of any monotonic clock."""

    __slots__ = ("_counted_until", "_refusals", "_refused_until", "_window_began")

    def __init__(self) -> None:
        self._refused_until: dict[str, float] = {}
        self._window_began = 0.0
        self._refusals = 0
        self._counted_until: dict[str, float] = {}

    def check_limit(self, limit: Limit, now: float) -> None:
        """Raise RateLimited while ``limit`` is known to refuse this session."""
        wait = self._refused_until.get(limit.name, 0.0) - now
        if wait > 0:
            raise RateLimited(retry_after=round(wait, 3))

    def count_here(self, limit: Limit, now: float) -> None:
        """Count one message at ``now`` in a limit of this session alone. Raises RateLimited if it is too many."""
        self.check_limit(limit, now)
        self._counted_until[limit.name] = count_at(limit, self._counted_until.get(limit.name, 0.0), now)

    def store_refusal(self, limit: Limit, error: RateLimited, now: float) -> bool:
        """Store that ``limit`` refused a message, and until when. Return True if the session has had so many refusals
        lately that it must be closed.
        """
        self._refused_until[limit.name] = now + (error.retry_after or 0.0)
        return self.count_refusal(now)

    def count_refusal(self, now: float) -> bool:
        """Count a message that was refused. Return True if the session has had so many refusals lately that it must be
        closed.
        """
        if now - self._window_began > REFUSALS_WITHIN_S:
            self._window_began, self._refusals = now, 0
        self._refusals += 1
        return self._refusals >= MAX_REFUSALS
