"""Limits on one session that sends too many requests: it is refused here without a call to Redis, and closed if it
continues.

The rate limits are counted in Redis, for all gateways (engine/identity/limits.py). When Redis has refused a request
until some time, this gateway refuses the same kind of request until that time. A flood then costs its gateway some
microseconds a message, and Redis nothing.
"""

from __future__ import annotations

from engine.errors import RateLimited
from engine.identity.limits import Limit

PINGS = Limit("pings", 20, 1)
"""The limit for the pings of one session, counted here: a call to Redis would cost more than the ping."""

REFUSALS, REFUSALS_WITHIN_S = 100, 10.0
"""After this many refused messages in this many seconds the session is closed with 4010: a client that waits for
``retry_after`` cannot reach it.
"""


class SessionLimiter:
    """The recent refusals and pings of one session. Times are seconds of any monotonic clock."""

    __slots__ = ("_begun", "_pinged", "_refused", "_until")

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._begun = 0.0
        self._refused = 0
        self._pinged = 0.0

    def check(self, limit: Limit, now: float) -> None:
        """Raise RateLimited while ``limit`` is known to refuse this session."""
        wait = self._until.get(limit.name, 0.0) - now
        if wait > 0:
            raise RateLimited(retry_after=round(wait, 3))

    def ping(self, now: float) -> None:
        """Count a ping at ``now``. Raises RateLimited if the session sends too many."""
        self.check(PINGS, now)
        at = max(self._pinged, now - PINGS.per_s) + PINGS.per_s / PINGS.count
        if at > now:
            raise RateLimited(retry_after=round(at - now, 3))
        self._pinged = at

    def refused(self, limit: Limit, error: RateLimited, now: float) -> bool:
        """Store that ``limit`` refused a message, and until when. Return True if the session has had so many refusals
        lately that it must be closed.
        """
        self._until[limit.name] = now + (error.retry_after or 0.0)
        return self.count(now)

    def count(self, now: float) -> bool:
        """Count a message that was refused. Return True if the session has had so many refusals lately that it must be
        closed.
        """
        if now - self._begun > REFUSALS_WITHIN_S:
            self._begun, self._refused = now, 0
        self._refused += 1
        return self._refused >= REFUSALS
