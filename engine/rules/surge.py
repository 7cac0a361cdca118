"""The demand multiplier of a price: how it follows the requests and the free technicians of an area without flapping.

Pressure = (waiting jobs + requests) ÷ (free technicians + usual requests), where requests count with a half-life of
8 minutes and the usual requests are the forecast for the same time: in the usual hour as many technicians become free
as requests arrive. The blueprint's table turns pressure into a multiplier (per mille).

Requests arrive by chance. In 12 minutes with 23 usual requests, 28 are no sign of more demand. A price that followed
the ratio itself would change some 600 times a day while nothing happens. Therefore the multiplier rises only as far as
the lower end of what the requests show (n − 1.28 √n: a Poisson count with this mean is rarely larger), and falls to
what their number itself shows. It moves in steps, not far at once, and not soon after it moved.

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
"""A smaller difference moves the multiplier only if that makes it neutral."""
NEIGHBOUR_WEIGHT = 0.5
"""What an area next to the area counts, so that no street is the border between two prices."""
DEVIATIONS = 1.28
"""How many standard deviations the lower end of a count is below the count: nine in ten are above it."""


class DemandTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The demand multiplier of a blueprint, all in per mille. ``table`` has rows (pressure, multiplier), between which
    the multiplier is interpolated; ``min`` and ``max`` bound it. Fewer than ``least`` recent requests never raise it.
    """

    table: tuple[tuple[float, int], ...]
    min: int = NEUTRAL
    max: int = 2000
    least: float = 8.0

    def multiplier_at(self, pressure: float) -> int:
        """Return the multiplier at a pressure: that of the first or last row outside of the table."""
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
    """What was seen of an area: the ``requests`` since the last look and the ``usual`` number for the same time, the
    jobs that wait and the technicians who are free now.
    """

    requests: float
    usual: float
    waiting: float = 0.0
    free: float = 0.0

    def with_neighbours(self, neighbours: Iterable[AreaLook]) -> AreaLook:
        """Return the same with the share of the areas around it."""
        sums = [self.requests, self.usual, self.waiting, self.free]
        for each in neighbours:
            for place, value in enumerate((each.requests, each.usual, each.waiting, each.free)):
                sums[place] += NEIGHBOUR_WEIGHT * value
        return AreaLook(*sums)


class SurgeState(msgspec.Struct, frozen=True):
    """The state of an area for one blueprint, for the next look. ``at`` is the time of the last look, ``moved_at`` that
    of the last move (ms). ``requests`` and ``usual`` are decayed sums, ``waiting`` and ``free`` decayed means.
    ``multiplier`` is in per mille. ``pressure`` is for people who ask why.
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
    """Return the state after a look at ``now_ms``. ``look`` includes the neighbours. ``state`` is None at the first."""
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
    multiplier = table.bound(_moved(state, target, now_ms))
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


def _moved(state: SurgeState, target: int, now_ms: int) -> int:
    """Return the multiplier after one move towards ``target``, if it may move now."""
    difference = target - state.multiplier
    if now_ms - state.moved_at < PAUSE_MS or (abs(difference) < DEAD_BAND and target != NEUTRAL):
        return state.multiplier
    return state.multiplier + max(-LARGEST_MOVE, min(LARGEST_MOVE, difference))


def reachable_multipliers(table: DemandTable) -> Sequence[int]:
    """Return the values at the rows of the table, with the neutral one: a price has one of these or one between."""
    return sorted({NEUTRAL, *(table.bound(value) for _, value in table.table)})
