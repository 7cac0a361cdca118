"""The demand multiplier of a price: it follows the requests and the free technicians of an area without changing too
often.

Pressure = (waiting jobs + requests) ÷ (free technicians + usual requests). Requests count with a half-life of 8
minutes. The usual requests are the forecast for the same time; they stand for the technicians who become free, because
in a usual hour as many become free as requests arrive. The blueprint's table maps pressure to a multiplier (per mille).

Requests arrive at random: if 23 requests are usual in 12 minutes, 28 are no sign of more demand. A price that followed
the pressure directly would change about 600 times a day under steady demand. Therefore the multiplier rises only as far
as the lower bound of the count requires (n − 1.28 √n: a count is larger than this bound in nine of ten cases), and
falls to what the count n itself requires. It moves in steps of ``STEP``, at most ``LARGEST_MOVE`` at once, and at most
once in ``PAUSE_MS``.

The caller looks at each area about once a minute and stores the state that ``next_surge`` returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import floor, sqrt

import msgspec

NEUTRAL = 1000
"""The multiplier (per mille) that changes no price."""
HALF_LIFE_MS = 480_000
STEP = 50
"""The multiplier is a multiple of this."""
LARGEST_MOVE = 100
PAUSE_MS = 120_000
"""The least time between two moves."""
DEAD_BAND = 100
"""A smaller difference moves the multiplier only if it becomes neutral."""
NEIGHBOUR_WEIGHT = 0.5
"""The weight of each neighbouring area, so that prices do not differ sharply between two sides of a street."""
DEVIATIONS = 1.28
"""How many standard deviations the lower bound of a count is below it: nine of ten counts are above the bound."""


class DemandTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a blueprint's demand multiplier follows pressure. ``table`` has rows (pressure, multiplier in per mille);
    between two rows the multiplier is interpolated. ``min`` and ``max`` (per mille) bound it. Fewer than ``least``
    recent requests never raise it.
    """

    table: tuple[tuple[float, int], ...]
    min: int = NEUTRAL
    max: int = 2000
    least: float = 8.0

    def multiplier_at(self, pressure: float) -> int:
        """Return the multiplier (per mille) at a pressure. Outside of the table it is that of the first or last row."""
        found = float(self.table[0][1])
        for (low, low_value), (high, high_value) in zip(self.table, self.table[1:], strict=False):
            if pressure > low:
                share = min(1.0, (pressure - low) / (high - low))
                found = low_value + share * (high_value - low_value)
        return self.bound(floor(found + 0.5))

    def bound(self, multiplier: int) -> int:
        """Return the multiplier inside of ``min`` and ``max``."""
        return max(self.min, min(self.max, multiplier))


class AreaLook(msgspec.Struct, frozen=True):
    """The input of a look at an area: the ``requests`` since the last look, the ``usual`` number for the same time, the
    jobs that wait and the technicians who are free now.
    """

    requests: float
    usual: float
    waiting: float = 0.0
    free: float = 0.0

    def with_neighbours(self, neighbours: Iterable[AreaLook]) -> AreaLook:
        """Return the sums of this area and of the areas around it, which count with ``NEIGHBOUR_WEIGHT``."""
        sums = [self.requests, self.usual, self.waiting, self.free]
        for each in neighbours:
            for place, value in enumerate((each.requests, each.usual, each.waiting, each.free)):
                sums[place] += NEIGHBOUR_WEIGHT * value
        return AreaLook(*sums)


class SurgeState(msgspec.Struct, frozen=True):
    """The state of an area for one blueprint, which the next look needs. ``at`` is the time of the last look,
    ``moved_at`` that of the last move of the multiplier (ms since the Unix epoch). ``requests`` and ``usual`` are
    decayed sums, ``waiting`` and ``free`` decayed means. ``multiplier`` is in per mille. ``pressure`` is only shown to
    people who ask why.
    """

    at: int
    requests: float = 0.0
    usual: float = 0.0
    waiting: float = 0.0
    free: float = 0.0
    multiplier: int = NEUTRAL
    moved_at: int = 0
    pressure: float = 0.0


def next_surge(state: SurgeState | None, table: DemandTable, look: AreaLook, now_ms: int) -> SurgeState:
    """Return the state after a look at ``now_ms`` (ms since the Unix epoch). ``look`` includes the neighbours.
    ``state`` is None at the first look.
    """
    if state is None:
        state = SurgeState(at=now_ms, waiting=look.waiting, free=look.free)
    rest = 0.5 ** (max(0, now_ms - state.at) / HALF_LIFE_MS)
    requests, usual = state.requests * rest + look.requests, state.usual * rest + look.usual
    waiting = state.waiting * rest + look.waiting * (1 - rest)
    free = state.free * rest + look.free * (1 - rest)
    # Below half of `least`, the denominator is as uncertain as the requests: a new city has no usual requests yet.
    supply, count = max(free + usual, table.least / 2, 1.0), requests + waiting
    deviation = DEVIATIONS * sqrt(count)
    low, middle, high = (max(0.0, each) / supply for each in (count - deviation, count, count + deviation))
    target = state.multiplier
    raised = table.multiplier_at(low) if count >= table.least else NEUTRAL
    if raised > state.multiplier:
        target = floor(raised / STEP + 0.5) * STEP
    else:
        lowered = table.multiplier_at(middle)
        if lowered < NEUTRAL:  # a discount needs as much evidence as a surge
            lowered = min(NEUTRAL, table.multiplier_at(high)) if supply >= table.least else NEUTRAL
        if lowered < state.multiplier:
            target = floor(lowered / STEP) * STEP
    multiplier = table.bound(_next_multiplier(state, target, now_ms))
    return SurgeState(
        at=now_ms,
        requests=requests,
        usual=usual,
        waiting=waiting,
        free=free,
        multiplier=multiplier,
        moved_at=state.moved_at if multiplier == state.multiplier else now_ms,
        pressure=middle,
    )


def _next_multiplier(state: SurgeState, target: int, now_ms: int) -> int:
    """Return the multiplier after one move towards ``target``, if it may move now."""
    difference = target - state.multiplier
    if now_ms - state.moved_at < PAUSE_MS or (abs(difference) < DEAD_BAND and target != NEUTRAL):
        return state.multiplier
    return state.multiplier + max(-LARGEST_MOVE, min(LARGEST_MOVE, difference))


def reachable_multipliers(table: DemandTable) -> Sequence[int]:
    """Return the multipliers of the table's rows, and the neutral one, in order. The multiplier of a price is one of
    these or lies between two of them.
    """
    return sorted({NEUTRAL, *(table.bound(value) for _, value in table.table)})
