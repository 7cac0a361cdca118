"""An artificial city: requests by hour and area, with quiet nights and busy evenings. The same seed gives the same
requests.
"""

from __future__ import annotations

import math
import random

from engine.rules.demand_backtest import HourCounts
from engine.rules.hour_slots import WEEK_HOURS

MONDAY_HOUR = 4 * 24 + 52 * WEEK_HOURS
"""An hour that begins on a Monday at midnight (UTC): the epoch began on a Thursday."""


def make_city(weeks: int, means: dict[str, float], *, seed: int = 1, first_hour: int = MONDAY_HOUR) -> list[HourCounts]:
    """Return the counts of ``weeks`` weeks. ``means`` has the mean count of an hour for each area."""
    chance = random.Random(seed)
    found = []
    for number in range(weeks * WEEK_HOURS):
        hour_of_day, is_weekend = number % 24, number % WEEK_HOURS >= 5 * 24
        shape = (1 + math.sin((hour_of_day - 12) * math.pi / 12)) * (0.7 if is_weekend else 1.1)
        busy = 2.0 if number // 9 % 7 == 3 else 1.0  # about nine hours of a day have twice the requests
        counts = {area: _poisson(chance, mean * shape * busy) for area, mean in means.items()}
        found.append(HourCounts(first_hour + number, {area: count for area, count in counts.items() if count}))
    return found


def _poisson(chance: random.Random, mean: float) -> int:
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count
