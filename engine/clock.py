"""The clock of this host, for times in SQL: when an account was created, when a token expires.

Live state does not use this clock: the scripts read the time of the Redis server.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the present time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
