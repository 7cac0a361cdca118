"""Tests of the tours of a day: an independent checker confirms windows, skills and shifts, and the search improves
plans.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load.day_instances import check_day, make_day
from engine.rules.routing import DayProblem, DayTours, Shift, Visit, given_tours, insert_greedily
from engine.rules.routing_search import improve

PLUMBER = frozenset({"plumbing"})


def rounds(number: int) -> Callable[[], float]:
    """Return a budget of ``number`` rounds."""
    tries = itertools.count()
    return lambda: next(tries) / number


def assert_is_plan(problem: DayProblem, day: DayTours) -> None:
    """Assert that each visit is made once or unserved, and that windows, skills and shifts hold."""
    travel_s, flaws = check_day(problem, [tour.visits for tour in day.tours])
    assert flaws == [] and abs(travel_s - day.travel_s) < 1e-6
    made = [visit for tour in day.tours for visit in tour.visits]
    assert sorted([*made, *day.unserved]) == list(range(len(problem.visits)))


def empty_day(problem: DayProblem) -> DayTours:
    """Return the solution in which nobody does anything."""
    return given_tours(problem, [()] * len(problem.shifts))


def test_what_fits_nowhere_stays_unserved() -> None:
    """Four visits stay unserved: one whose skill nobody has, one after the end of the shift, one that would end after
    the shift, and the second of two at the same time.
    """
    visits = [
        Visit(0, 600, 0, 3600, "welding"),
        Visit(0, 600, 9000, 9900, "plumbing"),
        Visit(0, 600, 7000, 7100, "plumbing"),
        Visit(0, 600, 100, 100, "plumbing"),
        Visit(0, 600, 100, 100, "plumbing"),
    ]
    problem = DayProblem(visits, [Shift(0, 7200, PLUMBER)], [[0.0]])
    found = improve(problem, insert_greedily(problem, empty_day(problem)), Random(1), rounds(50))
    assert_is_plan(problem, found)
    assert [tour.visits for tour in found.tours] in ([(3,)], [(4,)])


def test_the_gap_is_kept_and_the_travel_counts() -> None:
    """One technician cannot do two visits half an hour apart if the gap is an hour, although the ride takes a minute.
    The rides from and to home are part of the shift.
    """
    visits = [Visit(0, 0, 0, 0), Visit(1, 0, 1800, 1800)]
    near, far = [[0.0, 60.0], [60.0, 0.0]], [[0.0, 3600.0], [3600.0, 0.0]]
    shift = Shift(0, 7200, frozenset())
    apart = insert_greedily(problem := DayProblem(visits, [shift], near, far), empty_day(problem))
    assert apart.unserved == (1,)
    together = insert_greedily(problem := DayProblem(visits, [shift], near), empty_day(problem))
    assert together.unserved == () and together.travel_s == 60
    late = Shift(0, 1830, frozenset(), start_place=0, end_place=0)
    home = insert_greedily(problem := DayProblem(visits, [late], near), empty_day(problem))
    assert home.unserved == (1,)  # the technician would be home at 1,860 s


def test_a_fixed_visit_stays_and_nobody_is_needed_for_nothing() -> None:
    """A fixed visit stays in its tour, although another technician lives next to it. A day without shifts is
    possible.
    """
    visits = [Visit(0, 600, 0, 9999, fixed=True), Visit(0, 600, 0, 9999)]
    shifts = [Shift(0, 20_000, frozenset(), 1, 1), Shift(0, 20_000, frozenset(), 0, 0)]
    problem = DayProblem(visits, shifts, [[0.0, 900.0], [900.0, 0.0]])
    found = improve(problem, given_tours(problem, [(0, 1), ()]), Random(2), rounds(100))
    assert 0 in found.tours[0].visits
    nobody = DayProblem(visits, [], [[0.0]])
    assert improve(nobody, empty_day(nobody), Random(1), rounds(5)).unserved == (0, 1)


def test_a_held_visit_is_not_given_up_for_a_waiting_one() -> None:
    """Of two visits at the same time, the one with the higher skip cost stays, although the other one is nearer."""
    visits = [Visit(0, 600, 0, 0, skip_cost_s=1e9), Visit(1, 600, 0, 0)]
    shift = Shift(-9999, 9999, frozenset(), 1, 1)
    problem = DayProblem(visits, [shift], [[0.0, 900.0], [900.0, 0.0]])
    found = improve(problem, given_tours(problem, [(0,)]), Random(3), rounds(100))
    assert found.tours[0].visits == (0,) and found.unserved == (1,)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 6))
def test_every_plan_holds_and_is_no_worse(seed: int, jobs: int, technicians: int) -> None:
    """The plans of greedy insertion and of the search respect windows, skills and shifts. The search is never worse,
    and gives the same plan with the same seed.
    """
    problem = make_day(Random(seed), None, jobs, technicians)
    greedy = insert_greedily(problem, empty_day(problem))
    assert_is_plan(problem, greedy)
    found = improve(problem, greedy, Random(seed), rounds(60))
    assert_is_plan(problem, found)
    assert found.cost_s(problem) <= greedy.cost_s(problem) + 1e-6
    again = improve(problem, greedy, Random(seed), rounds(60))
    assert [tour.visits for tour in again.tours] == [tour.visits for tour in found.tours]


def test_the_search_saves_a_fifth_of_the_travel() -> None:
    """On two days of 100 jobs, 400 rounds serve no fewer jobs than greedy insertion, with a fifth less travel."""
    before = after = 0.0
    for seed in (1, 2):
        problem = make_day(Random(seed), None, 100, 10)
        greedy = insert_greedily(problem, empty_day(problem))
        found = improve(problem, greedy, Random(seed), rounds(400))
        assert_is_plan(problem, found)
        assert len(found.unserved) <= len(greedy.unserved)
        before, after = before + greedy.travel_s, after + found.travel_s
    assert after <= 0.8 * before
