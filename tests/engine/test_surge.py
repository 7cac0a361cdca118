"""The demand multiplier: it changes seldom while demand is steady, and follows a real change soon."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import exp
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.surge import (
    LARGEST_MOVE,
    NEUTRAL,
    PAUSE_MS,
    STEP,
    AreaLook,
    DemandTable,
    SurgeState,
    next_surge,
)

TABLE = DemandTable(table=((1.0, 1000), (1.5, 1200), (2.5, 1600), (4.0, 2000)))
MINUTE_MS = 60_000
DAY = 1440


def poisson(numbers: random.Random, mean: float) -> int:
    """Return a count with this mean, by the method of Knuth."""
    limit, count, product = exp(-mean), 0, numbers.random()
    while product > limit:
        count, product = count + 1, product * numbers.random()
    return count


def states_of(seed: int, usual: float, rate_at: Callable[[int], float], minutes: int) -> Iterator[SurgeState]:
    """Yield the state after each minute of an area with ``usual`` requests an hour. ``rate_at`` returns the mean
    requests of a minute.
    """
    numbers, state = random.Random(seed), None
    for minute in range(minutes):
        look = AreaLook(poisson(numbers, rate_at(minute) / 60), usual / 60)
        state = next_surge(state, TABLE, look, minute * MINUTE_MS)
        yield state


@pytest.mark.parametrize(("rate", "most_changes"), [(30, 10), (120, 2), (480, 2)])
def test_steady_demand_does_not_flap(rate: int, most_changes: int) -> None:
    """In a day of steady demand the multiplier changes at most ten times at 30 requests an hour, and twice at 120
    and 480. A multiplier that followed the ratio of 15 minutes would change 462 to 706 times.
    """
    days = 4
    states = list(states_of(1, rate, lambda _: rate, days * DAY))
    changes = sum(before.multiplier != after.multiplier for before, after in pairwise(states))
    assert changes / days <= most_changes


def test_three_times_the_demand_raises_the_price_soon_and_not_for_long() -> None:
    """With three times the usual 120 requests an hour the multiplier reaches × 1.45 within 25 minutes. An hour after
    the end of the demand it is neutral again.
    """
    rises, ends = [], []
    for seed in range(15):
        states = list(states_of(seed, 120, lambda minute: 360 if 60 <= minute < 120 else 120, 180))
        rises.append(next(n for n, state in enumerate(states[60:]) if state.multiplier >= 1450))
        ends.append(next(n for n, state in enumerate(states[120:]) if state.multiplier == NEUTRAL))
    assert median(rises) <= 20 and sorted(rises)[-2] <= 25
    assert median(ends) <= 35 and max(ends) <= 60


def test_few_requests_raise_nothing() -> None:
    """Seven requests in an area where none is usual do not raise the price; forty requests with no free technician
    do.
    """
    quiet = next_surge(None, TABLE, AreaLook(7, 0), PAUSE_MS)
    assert quiet.multiplier == NEUTRAL
    assert next_surge(None, TABLE, AreaLook(40, 0), PAUSE_MS).multiplier == NEUTRAL + LARGEST_MOVE


def test_free_technicians_take_the_pressure_away() -> None:
    """With forty free technicians, three times the usual requests do not raise the price; with many waiting jobs, they
    do.
    """
    assert next_surge(None, TABLE, AreaLook(60, 20, free=40), PAUSE_MS).multiplier == NEUTRAL
    assert next_surge(None, TABLE, AreaLook(20, 20, waiting=40), PAUSE_MS).multiplier > NEUTRAL


def test_neighbours_count_half() -> None:
    """The six cells around an area count half, so that prices do not jump at the border of two cells."""
    around = AreaLook(4, 2, waiting=2, free=6)
    assert AreaLook(1, 1, waiting=1, free=0).with_neighbours([around, around]) == AreaLook(5, 3, waiting=3, free=6)


def test_a_discount_needs_evidence_too() -> None:
    """A blueprint may make a quiet hour cheaper. An area without counts does not count as quiet."""
    table = DemandTable(table=((0.5, 900), (1.0, 1000), (2.0, 1500)), min=900)
    assert next_surge(None, table, AreaLook(0, 0), PAUSE_MS).multiplier == NEUTRAL
    assert next_surge(None, table, AreaLook(10, 60), PAUSE_MS).multiplier == 900


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 100), st.floats(0, 50), st.integers(0, 400_000)), max_size=30)
)
def test_the_multiplier_moves_in_steps_inside_of_its_limits(looks: list[tuple[float, float, float, int]]) -> None:
    """For any input, the multiplier stays within the table's limits, moves by at most 0.1 at a time, and at most once
    in two minutes.
    """
    now, state = 10**12, None
    for requests, usual, free, later_ms in looks:
        before, now = state, now + later_ms
        state = next_surge(state, TABLE, AreaLook(requests, usual, free=free), now)
        assert TABLE.min <= state.multiplier <= TABLE.max and state.multiplier % STEP == 0
        if before and before.multiplier != state.multiplier:
            assert abs(before.multiplier - state.multiplier) <= LARGEST_MOVE
            assert now - before.moved_at >= PAUSE_MS


@settings(max_examples=60)
@given(st.floats(0, 10), st.floats(0, 10))
def test_the_multiplier_rises_with_the_pressure(one: float, other: float) -> None:
    """More pressure never makes the multiplier smaller."""
    low, high = sorted((one, other))
    assert TABLE.min <= TABLE.multiplier_at(low) <= TABLE.multiplier_at(high) <= TABLE.max
