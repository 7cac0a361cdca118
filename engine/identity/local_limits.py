"""Rate limits of one process, for requests that are served while the meters in Redis cannot be reached."""

from __future__ import annotations

from collections import defaultdict

from engine.identity.limits import Allowance, Limit, count_at

MAX_METERS = 10_000
"""The most callers with a meter of their own in each limit. All others share one meter."""
CLEAR_INTERVAL_S = 1.0


class LocalMeters:
    """The rate limit meters in the memory of one process: one for each limit and each caller. Times are seconds of any
    monotonic clock.

    Each process counts for itself, so a caller may send as much to each process as they otherwise may to all together.
    Nothing that was counted in Redis before counts here.
    """

    def __init__(self) -> None:
        self._counted_until: dict[str, dict[str, float]] = defaultdict(dict)
        self._cleared_at = 0.0

    def count(self, limit: Limit, counted: str, now: float) -> Allowance:
        """Count one request of ``counted``. Raises RateLimited if it exceeds ``limit``."""
        meters = self._counted_until[limit.name]
        if counted not in meters and len(meters) >= MAX_METERS:
            self._remove_unused_meters(limit, now)
            if len(meters) >= MAX_METERS:
                counted = ""
        meters[counted] = until = count_at(limit, meters.get(counted, 0.0), now)
        used_s = until - (now - limit.period_s)
        return Allowance(int((now - until) * limit.count / limit.period_s), used_s)

    def _remove_unused_meters(self, limit: Limit, now: float) -> None:
        """Remove the meters of callers who have the full number of requests again. All meters are read, so this is done
        at most once in ``CLEAR_INTERVAL_S``.
        """
        if now - self._cleared_at < CLEAR_INTERVAL_S:
            return
        self._cleared_at, meters = now, self._counted_until[limit.name]
        for name in [name for name, until in meters.items() if until <= now - limit.period_s]:
            del meters[name]
