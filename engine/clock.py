"""The clock of this host, for times in SQL: when an account was created, when a token expires.

Live state does not use it: its time is the Redis server's, which the scripts read themselves.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
