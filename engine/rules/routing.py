"""Plan the day of the technicians: which technician makes which visit in which order, with the least travel.

A *visit* is a job at a place, with a duration and the times between which its work may begin. A *shift* is the working
day of a technician. A *tour* is the visits of one shift, in order. Every tour here respects the times of the visits,
the skills and the shift. A visit that fits into no tour stays unserved. This module builds tours;
engine/rules/routing_search.py improves them.

Times are whole seconds; the zero is the same for all times of a problem. Places are indexes into the matrices.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import msgspec

Matrix = Sequence[Sequence[float]]


class Visit(msgspec.Struct, frozen=True):
    """A job of the day. Its work takes ``duration_s`` and begins between ``earliest_s`` and ``latest_s``. Only a shift
    with its ``skill`` can make it. ``skip_cost_s`` is the travel time (seconds) that may be spent to serve it. A
    ``fixed`` visit stays in its tour.
    """

    place: int
    duration_s: int
    earliest_s: int
    latest_s: int
    skill: str = ""
    skip_cost_s: float = 86_400.0
    fixed: bool = False


class Shift(msgspec.Struct, frozen=True):
    """The working day of a technician: their work and their travel lie between ``start_s`` and ``end_s``. They start
    at ``start_place`` and end at ``end_place``. If these are None, the travel to the first visit and from the last one
    does not count.
    """

    start_s: int
    end_s: int
    skills: frozenset[str]
    start_place: int | None = None
    end_place: int | None = None


class DayProblem:
    """The visits and shifts to plan. ``travel_s[a][b]`` is the likely travel time from place ``a`` to place ``b``
    (seconds); a plan minimises the sum of these. ``gap_s[a][b]`` is the least time between the end of the work at ``a``
    and the begin of the work at ``b``: a cautious travel time and the buffer; without ``gap_s`` it is the travel time.
    ``shifts_of`` has for each visit the shifts that may make it; without ``shifts_of`` the skill decides.
    """

    def __init__(
        self,
        visits: Sequence[Visit],
        shifts: Sequence[Shift],
        travel_s: Matrix,
        gap_s: Matrix | None = None,
        shifts_of: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.visits, self.shifts = tuple(visits), tuple(shifts)
        self.nowhere = len(travel_s)
        self.travel = _with_virtual_place(travel_s)
        self.gap = _with_virtual_place(gap_s) if gap_s is not None else self.travel
        self.travel_to: list[tuple[float, ...]] = list(zip(*self.travel, strict=True))
        self.gap_to: list[tuple[float, ...]] = list(zip(*self.gap, strict=True))
        self.shifts_of = shifts_of or tuple(
            tuple(index for index, shift in enumerate(self.shifts) if not visit.skill or visit.skill in shift.skills)
            for visit in self.visits
        )


def _with_virtual_place(matrix: Matrix) -> list[list[float]]:
    """Return the matrix with one more place, whose travel times are 0: the start of a shift without a start place."""
    return [[*row, 0.0] for row in matrix] + [[0.0] * (len(matrix) + 1)]


class Tour:
    """The visits of one shift, in order. A tour never changes, so it can cache where a further visit fits best.
    ``_done`` has the earliest times at which the technician is free: the shift's start, and the end of each visit.
    ``_latest`` has the latest possible begin of each visit that leaves time for all later visits, and at the end the
    shift's end.
    """

    def __init__(self, problem: DayProblem, shift: int, visits: tuple[int, ...]) -> None:
        self.problem, self.shift, self.visits = problem, shift, visits
        day, travel, gap, specs = problem.shifts[shift], problem.travel, problem.gap, problem.visits
        here = problem.nowhere if day.start_place is None else day.start_place
        now = float(day.start_s)
        self._places, self._legs, self._done = places, legs, done = [here], list[float](), [now]
        for visit in visits:
            spec = specs[visit]
            place = spec.place
            legs.append(travel[here][place])
            now += gap[here][place]
            if now < spec.earliest_s:  # noqa: PLR1730 (max() takes three times as long)
                now = spec.earliest_s
            now += spec.duration_s
            done.append(now)
            places.append(place)
            here = place
        here = problem.nowhere if day.end_place is None else day.end_place
        legs.append(travel[places[-1]][here])
        places.append(here)
        self.travel_s = sum(legs)
        self._latest = latest = [limit := float(day.end_s)]
        for visit in reversed(visits):
            spec = specs[visit]
            limit -= gap[spec.place][here] + spec.duration_s
            if limit > spec.latest_s:  # noqa: PLR1730
                limit = spec.latest_s
            latest.append(limit)
            here = spec.place
        latest.reverse()
        self._best: dict[int, tuple[float, int] | None] = {}

    def begins_s(self) -> list[int]:
        """Return the earliest begin of each visit's work, in seconds."""
        ends = zip(self._done[1:], self.visits, strict=True)
        return [round(done) - self.problem.visits[visit].duration_s for done, visit in ends]

    def best_insertion(self, visit: int) -> tuple[float, int] | None:
        """Return the least travel time (seconds) that a further visit adds, and its position; None if it fits nowhere.
        The caller must have checked that the shift may make the visit.
        """
        try:
            return self._best[visit]
        except KeyError:
            self._best[visit] = found = self._search_insertion(visit)
            return found

    def _search_insertion(self, visit: int) -> tuple[float, int] | None:
        problem = self.problem
        spec = problem.visits[visit]
        place, duration, earliest, latest = spec.place, spec.duration_s, spec.earliest_s, spec.latest_s
        travel_to, travel_from = problem.travel_to[place], problem.travel[place]
        gap_to, gap_from = problem.gap_to[place], problem.gap[place]
        places, done, limits, legs = self._places, self._done, self._latest, self._legs
        least, best = float("inf"), -1
        # Both lists are sorted. Positions are skipped if the technician is free too late or the next visit begins too
        # early.
        for position in range(bisect_left(limits, earliest + duration), bisect_right(done, latest)):
            before, after = places[position], places[position + 1]
            begin = done[position] + gap_to[before]
            if begin < earliest:  # noqa: PLR1730
                begin = earliest
            if begin <= latest and begin + duration + gap_from[after] <= limits[position]:
                added = travel_to[before] + travel_from[after] - legs[position]
                if added < least:
                    least, best = added, position
        return (least, best) if best >= 0 else None

    def insert(self, visit: int, position: int) -> Tour:
        """Return the tour with one more visit at this position."""
        return Tour(self.problem, self.shift, (*self.visits[:position], visit, *self.visits[position:]))

    def without(self, removed: Iterable[int]) -> Tour:
        """Return the tour without these visits."""
        gone = set(removed)
        return Tour(self.problem, self.shift, tuple(visit for visit in self.visits if visit not in gone))


class DayTours(msgspec.Struct, frozen=True):
    """A solution: a tour for each shift, in the order of the shifts, and the visits that nobody makes."""

    tours: tuple[Tour, ...]
    unserved: tuple[int, ...]

    @property
    def travel_s(self) -> float:
        """The travel time of all tours in seconds."""
        return sum(tour.travel_s for tour in self.tours)

    def cost_s(self, problem: DayProblem) -> float:
        """Return the travel time plus the skip costs of the unserved visits, in seconds."""
        return self.travel_s + sum(problem.visits[visit].skip_cost_s for visit in self.unserved)


def given_tours(problem: DayProblem, visits_of_shift: Sequence[Sequence[int]]) -> DayTours:
    """Return the solution that already exists: the visits of each shift, in the order of their times."""
    tours = tuple(Tour(problem, shift, tuple(visits)) for shift, visits in enumerate(visits_of_shift))
    made = {visit for tour in tours for visit in tour.visits}
    return DayTours(tours, tuple(visit for visit in range(len(problem.visits)) if visit not in made))


def insert_greedily(problem: DayProblem, day: DayTours, order: Sequence[int] | None = None) -> DayTours:
    """Insert the unserved visits one after the other, each where it adds the least travel, and return the solution.
    ``order`` has the visits to insert, in order; without it, they are inserted in the order of ``day.unserved``.
    """
    tours, unserved = list(day.tours), []
    for visit in day.unserved if order is None else order:
        best, best_tour = (float("inf"), -1), -1
        for shift in problem.shifts_of[visit]:
            found = tours[shift].best_insertion(visit)
            if found and found[0] < best[0]:
                best, best_tour = found, shift
        if best_tour < 0:
            unserved.append(visit)
        else:
            tours[best_tour] = tours[best_tour].insert(visit, best[1])
    return DayTours(tuple(tours), tuple(unserved))
