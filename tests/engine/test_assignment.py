"""The solvers of matching windows: the exact solver finds the same cost as scipy, and no solver gives a technician two
jobs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from engine.rules import assignment, matchers
from engine.rules.assignment import NOBODY, Edges, TooSlow

INSTANCES = 2_000
"""How many drawn instances are compared with scipy."""


def least_cost(edges: Edges, unmatched: Sequence[int]) -> int:
    """Return the least cost, computed by scipy. The matrix has a column for each technician, and one for each job that
    stays without a technician.
    """
    technicians = 1 + max((each for row in edges for each, _ in row), default=-1)
    costs = numpy.full((len(edges), technicians + len(edges)), 10**9, dtype=numpy.int64)
    for job, row in enumerate(edges):
        costs[job, technicians + job] = unmatched[job]
        for technician, cost in row:
            costs[job, technician] = cost
    return int(costs[linear_sum_assignment(costs)].sum())


def cost_of(edges: Edges, unmatched: Sequence[int], taken: Sequence[int]) -> int:
    """Return the cost of an assignment. Assert that each technician has an edge to their job, and only one job."""
    busy = [technician for technician in taken if technician != NOBODY]
    assert len(busy) == len(set(busy)) and len(taken) == len(edges)
    rows = zip(edges, unmatched, taken, strict=True)
    return sum(left if technician == NOBODY else dict(row)[technician] for row, left, technician in rows)


def draw_instance(draw: random.Random) -> tuple[Edges, list[int]]:
    """Return a window of up to 12 jobs with ties, zeros, and jobs without any edge."""
    jobs, technicians, highest = draw.randint(1, 12), draw.randint(1, 12), draw.choice([1, 3, 10, 1_000])
    most = draw.choice([1, 3, 12])
    edges = [
        [
            (technician, draw.randint(0, highest))
            for technician in draw.sample(range(technicians), draw.randint(0, min(technicians, most)))
        ]
        for _ in range(jobs)
    ]
    return edges, [draw.randint(0, draw.choice([1, highest, 2 * highest])) for _ in range(jobs)]


def test_the_exact_solver_costs_what_scipy_costs() -> None:
    """In 2,000 random windows with ties, zeros and jobs without edges the exact solver finds the same cost as scipy,
    and `shortest_first` costs at least as much.
    """
    draw = random.Random(20141)
    dearer = 0
    for _ in range(INSTANCES):
        edges, unmatched = draw_instance(draw)
        least = least_cost(edges, unmatched)
        assert cost_of(edges, unmatched, assignment.exact(edges, unmatched)) == least, (edges, unmatched)
        greedy = cost_of(edges, unmatched, assignment.shortest_first(edges, unmatched))
        assert greedy >= least
        dearer += greedy > least
    assert dearer > INSTANCES / 20, "the instances are too easy to tell the solvers apart"


ROWS = st.lists(st.dictionaries(st.integers(0, 8), st.integers(0, 20), max_size=6), min_size=1, max_size=8)


@given(ROWS, st.data())
@settings(max_examples=100, deadline=None)
def test_a_window_found_by_hypothesis_has_the_least_cost(rows: list[dict[int, int]], data: st.DataObject) -> None:
    """The costs are also equal for windows that hypothesis draws."""
    edges = [list(row.items()) for row in rows]
    unmatched = data.draw(st.lists(st.integers(0, 25), min_size=len(rows), max_size=len(rows)))
    least = least_cost(edges, unmatched)
    assert cost_of(edges, unmatched, assignment.exact(edges, unmatched)) == least


def test_a_solver_that_is_too_slow_says_so() -> None:
    """The exact solver raises TooSlow after its time limit; `shortest_first` needs no limit."""
    edges, unmatched = [[(0, 1)], [(0, 2)]], [5, 5]
    with pytest.raises(TooSlow):
        assignment.exact(edges, unmatched, 1e-9)
    assert assignment.shortest_first(edges, unmatched, 1e-9) == [0, NOBODY]


def test_matchers_are_found_by_name() -> None:
    """The shipped matchers are found by name; a name that is not installed is not found."""
    assert matchers.find_matcher("nothing") is None
    assert matchers.find_matcher("exact") is assignment.exact
    assert matchers.find_matcher("shortest_first") is assignment.shortest_first
