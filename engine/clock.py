"""This host's clock, for what SQL keeps: when an account was made, when a token runs out.

Not for hot state: there time is the server's, and scripts read it themselves.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
