"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Full jitter: each wait is drawn from nought to a ceiling that doubles from ``first_s`` to ``cap_s``.

    A fixed wait, or one with a little noise, brings all clients of a restarted server back in the same
    moment.
    """

    first_s: float = 0.5
    cap_s: float = 20.0
    tries: int = 0
    rng: random.Random = field(default_factory=random.Random)

    def next_s(self, *, later: bool = False) -> float:
        """The next wait in seconds; the ceiling is twice as high each time until ``reset``. ``later``: between half of
        the highest ceiling and that, for one who was told that he comes too often.
        """
        if later:
            return self.rng.uniform(self.cap_s / 2, self.cap_s)
        ceiling = min(self.cap_s, self.first_s * 2**self.tries)
        self.tries = min(self.tries + 1, 16)
        return self.rng.uniform(0, ceiling)

    def reset(self) -> None:
        """It worked: begin with ``first_s`` again."""
        self.tries = 0
