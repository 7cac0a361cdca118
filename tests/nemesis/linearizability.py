"""Decide whether a concurrent history has a legal order: the algorithm of Wing and Gong (*Testing and verifying
concurrent objects*, 1993) with Lowe's memo of the configurations that were tried (*Testing for linearizability*, 2017).

An operation takes effect at one instant between its begin and its end. One without an end may take effect at any later
time, or never. The search takes the operations one by one: next may be each that began before the first end of those
that remain. A configuration is the set of operations taken and the state; the same configuration is not tried twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)
MAX_CONFIGURATIONS = 150_000


class Interval(NamedTuple):
    """The time in which an operation takes effect. An operation with an infinite ``end`` may never take effect."""

    begin: float
    end: float


class Search(NamedTuple):
    """The result of the search: ``cost`` is the least cost of a legal order, None if there is none. ``stuck`` are the
    operations that the longest partial orders could not add. ``is_complete`` is false if the search gave up.
    """

    cost: int | None
    stuck: tuple[int, ...]
    is_complete: bool
    configurations: int


def find_order(
    intervals: Sequence[Interval],
    initial: State,
    successors: Callable[[State, int], Iterable[tuple[State, int]]],
    *,
    max_cost: int = 0,
) -> Search:
    """Search for the legal order with the least cost, up to ``max_cost``. ``successors`` returns the states after an
    operation, each with what it costs.
    """
    required = sum(1 << i for i, each in enumerate(intervals) if each.end < math.inf)
    order = sorted(range(len(intervals)), key=lambda i: (intervals[i].end, intervals[i].begin), reverse=True)
    best_left, best_taken = len(intervals) + 1, 0
    least_cost: dict[tuple[int, State], int] = {(0, initial): 0}
    # One stack for each cost. A stack finds an order of that cost soonest: what was taken last is continued first.
    stacks: list[list[tuple[int, State]]] = [[(0, initial)], *([] for _ in range(max_cost))]
    for cost, stack in enumerate(stacks):
        while stack:
            taken, state = stack.pop()
            if least_cost[taken, state] < cost:
                continue
            left = (required & ~taken).bit_count()
            if left == 0:
                return Search(cost, (), True, len(least_cost))
            if len(least_cost) > MAX_CONFIGURATIONS:
                return Search(None, _next_operations(intervals, best_taken), False, len(least_cost))
            if left < best_left:
                best_left, best_taken = left, taken
            first_end = min(each.end for i, each in enumerate(intervals) if not taken >> i & 1)
            for i in order:
                if taken >> i & 1 or intervals[i].begin > first_end:
                    continue
                for after, more in successors(state, i):
                    if after == state and intervals[i].end == math.inf:
                        continue  # the operation may have had no effect
                    following = (taken | 1 << i, after)
                    if cost + more <= max_cost and least_cost.get(following, max_cost + 1) > cost + more:
                        least_cost[following] = cost + more
                        stacks[cost + more].append(following)
    return Search(None, _next_operations(intervals, best_taken), True, len(least_cost))


def _next_operations(intervals: Sequence[Interval], taken: int) -> tuple[int, ...]:
    """Return the operations that would have to be next: those that began before the first end of the others."""
    left = [i for i, each in enumerate(intervals) if not taken >> i & 1]
    first_end = min((intervals[i].end for i in left), default=0.0)
    return tuple(i for i in left if intervals[i].begin <= first_end < math.inf and intervals[i].end < math.inf)
