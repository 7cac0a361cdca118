"""Delays between retries."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Full jitter: each delay is uniform between 0 and a ceiling that doubles from ``first_s`` to ``cap_s``.

    Rejected: a fixed delay with or without noise: all clients of a restarted server reconnect at once.
    """

    first_s: float = 0.5
    cap_s: float = 20.0
    tries: int = 0
    rng: random.Random = field(default_factory=random.Random)

    def next_s(self, *, later: bool = False) -> float:
        """Return the next delay in seconds. The ceiling doubles with each call until ``reset``.

        ``later``: between half of ``cap_s`` and ``cap_s``, for a client that was closed because it connects too often.
        """
        if later:
            return self.rng.uniform(self.cap_s / 2, self.cap_s)
        ceiling = min(self.cap_s, self.first_s * 2**self.tries)
        self.tries = min(self.tries + 1, 16)
        return self.rng.uniform(0, ceiling)

    def reset(self) -> None:
        """Start with ``first_s`` again, after a success."""
        self.tries = 0
