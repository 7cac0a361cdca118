"""One session that asks too much: held off here, without asking Redis again, and sent away if it does not stop.

The meters themselves are in Redis, shared by all gateways (engine/identity/limits.py). What they have refused until a
time is refused here until then: a flood then costs its sender's gateway some microseconds a message, and Redis nothing.
"""

from __future__ import annotations

from engine.errors import RateLimited
from engine.identity.limits import Limit

PINGS = Limit("pings", 20, 1)
"""Of one session, counted here: a ping is too cheap to ask Redis whether it may be sent."""

REFUSALS, REFUSALS_WITHIN_S = 100, 10.0
"""So many refused in so many seconds is no client that waits its ``retry_after``, but a flood: 4010."""


class SessionLimiter:
    """What one session has been refused lately. Times are seconds of any steady clock."""

    __slots__ = ("_begun", "_pinged", "_refused", "_until")

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._begun = 0.0
        self._refused = 0
        self._pinged = 0.0

    def check(self, limit: Limit, now: float) -> None:
        """Raises RateLimited while the meter called so is known to refuse."""
        wait = self._until.get(limit.name, 0.0) - now
        if wait > 0:
            raise RateLimited(retry_after=round(wait, 3))

    def ping(self, now: float) -> None:
        """Count a ping. Raises RateLimited."""
        self.check(PINGS, now)
        at = max(self._pinged, now - PINGS.per_s) + PINGS.per_s / PINGS.count
        if at > now:
            raise RateLimited(retry_after=round(at - now, 3))
        self._pinged = at

    def refused(self, limit: Limit, error: RateLimited, now: float) -> bool:
        """Note a refusal, and until when it holds; True where there were too many of them lately."""
        self._until[limit.name] = now + (error.retry_after or 0.0)
        return self.count(now)

    def count(self, now: float) -> bool:
        """Count a message that was answered with a refusal; True where there were too many of them lately."""
        if now - self._begun > REFUSALS_WITHIN_S:
            self._begun, self._refused = now, 0
        self._refused += 1
        return self._refused >= REFUSALS
