"""The rating of a technician: one figure from all stars, for ranking and display.

With a plain mean, a newcomer with one good rating would be the best of all, and one with one bad rating the worst. So
every technician begins with ``PRIOR_WEIGHT`` assumed ratings of ``PRIOR_MEAN``, which real ratings outweigh over time.
This is the Bayesian average, as in the weighted rating of the Internet Movie Database: W = (v·R + m·C) ÷ (v + m).

``PRIOR_MEAN`` is the usual mean of such marketplaces, so that an unknown technician ranks among the average ones and
not behind them. With ``PRIOR_WEIGHT`` 5, half of the figure is the technician's own after five jobs, and a first single
star lowers it by 0.58 instead of 3.5.
"""

from __future__ import annotations

PRIOR_MEAN = 4.5
PRIOR_WEIGHT = 5


def bayesian_mean(stars: int, count: int) -> float:
    """Return the rating (1 to 5, two decimals) of a technician with ``count`` ratings that have ``stars`` in total."""
    return round((PRIOR_MEAN * PRIOR_WEIGHT + stars) / (PRIOR_WEIGHT + count), 2)
