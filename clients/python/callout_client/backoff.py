"""Delays between retries."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """A sequence of delays with full jitter: each delay is uniform between 0 and a ceiling. The ceiling doubles from
    ``first_s`` to ``max_s`` (seconds).

    Rejected: a fixed delay with or without noise, because all clients of a restarted server would reconnect at once.
    """

    first_s: float = 0.5
    max_s: float = 20.0
    tries: int = 0
    rng: random.Random = field(default_factory=random.Random)

    def next_s(self, *, later: bool = False) -> float:
        """Return the next delay in seconds. The ceiling doubles with each call until ``reset``.

        ``later``: return a delay between half of ``max_s`` and ``max_s``. This is for a client whose connection was
        closed because it connects too often.
        """
        if later:
            return self.rng.uniform(self.max_s / 2, self.max_s)
        ceiling = min(self.max_s, self.first_s * 2**self.tries)
        self.tries = min(self.tries + 1, 16)
        return self.rng.uniform(0, ceiling)

    def reset(self) -> None:
        """Set the ceiling to ``first_s`` again. Call this after a success."""
        self.tries = 0
