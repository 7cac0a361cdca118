"""From stars to the one figure by which a technician is ranked and shown.

A plain mean makes the newcomer with one good word the best of all, and the one with one bad word the worst. So every
technician begins with ``PRIOR_WEIGHT`` imagined ratings of ``PRIOR_MEAN``, which real ones outweigh as they come in:
the Bayesian average, as the Internet Movie Database's weighted rating, W = (v·R + m·C) ÷ (v + m), has it.

``PRIOR_MEAN`` lies where marketplaces of this kind have theirs, so that somebody unknown ranks among the usual ones and
not behind them. ``PRIOR_WEIGHT`` 5: after five jobs half of the figure is his own, and a first single star takes 0.58
from it rather than 3.5.
"""

from __future__ import annotations

PRIOR_MEAN = 4.5
PRIOR_WEIGHT = 5


def mean(stars: int, count: int) -> float:
    """What ``count`` ratings of ``stars`` in all come to, from 1 to 5 with two decimals."""
    return round((PRIOR_MEAN * PRIOR_WEIGHT + stars) / (PRIOR_WEIGHT + count), 2)
