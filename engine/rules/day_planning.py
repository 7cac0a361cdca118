"""Plan the day of a zone's technicians: find the booked jobs that should go to another technician so that all travel
less.

The times of the jobs do not change. Therefore whether one technician can do two jobs does not depend on the technician:
the later job must begin after the end of the earlier one plus the cautious travel time and the buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import msgspec

from engine.rules import routing_search
from engine.rules.distances import distance_m
from engine.rules.move_groups import Move, drop_impossible, group_moves, rank_groups
from engine.rules.routing import DayProblem, Shift, Visit, given_tours, insert_greedily
from engine.rules.travel import TravelModel

WAITING_COST_S, HELD_COST_S = 86_400.0, 1e9
"""How much travel (seconds) a plan may add so that a waiting job gets a technician, and so that a job that has a
technician is not left without one."""
DAY_S = 86_400


class DayJob(msgspec.Struct, frozen=True, kw_only=True):
    """A booked job of the day, with its times in ms since the Unix epoch. With ``holder`` None, the job waits for a
    technician. A ``fixed`` job stays with its holder. The technicians in ``barred`` may not get the job.
    """

    id: str
    version: int
    service: str
    lat: float
    lon: float
    begins_ms: int
    ends_ms: int
    buffer_ms: int
    holder: str | None
    fixed: bool = False
    barred: frozenset[str] = frozenset()


class DayTechnician(msgspec.Struct, frozen=True):
    """A technician, with their services and their working hours: start and end of each span, in ms since the epoch."""

    id: str
    services: frozenset[str]
    hours: tuple[tuple[int, int], ...]

    def may_do(self, job: DayJob) -> bool:
        """Return whether the job may go to this technician. Their other jobs are not considered."""
        works = any(begins <= job.begins_ms and job.ends_ms <= ends for begins, ends in self.hours)
        return works and job.service in self.services and self.id not in job.barred


class PlannedGroup(msgspec.Struct, frozen=True):
    """Moves that are applied together, and the travel time (seconds) that they save if the groups before this one have
    been applied.
    """

    moves: tuple[Move, ...]
    saves_s: int


class PlannedDay(msgspec.Struct, frozen=True):
    """A plan: the moves, in groups, and the waiting jobs that get no technician (``unserved``). Jobs and technicians
    are indexes in the lists that ``plan_day`` got.
    """

    groups: tuple[PlannedGroup, ...]
    unserved: tuple[int, ...]


def plan_day(
    jobs: Sequence[DayJob],
    technicians: Sequence[DayTechnician],
    model_at: Callable[[int], TravelModel],
    random: Random,
    used_share: Callable[[], float],
    pause: Callable[[], None] = lambda: None,
) -> PlannedDay:
    """Return the best plan that is found until ``used_share``, the used share of the time limit (0 to 1), returns 1.
    ``model_at`` returns the travel times of journeys that begin at a time (ms). Each job's holder must be one of
    ``technicians``. ``pause`` is called before each row of the matrices, so that other work of the process can run.
    """
    likely_s, gap_s = _matrices(jobs, model_at, pause)
    index_of = {technician.id: index for index, technician in enumerate(technicians)}
    held: dict[int, set[int]] = {index: set() for index in range(len(technicians))}
    for number, job in enumerate(jobs):
        if job.holder is not None:
            held[index_of[job.holder]].add(number)

    def clash(one: int, other: int) -> bool:
        first, second = sorted((one, other), key=lambda number: jobs[number].begins_ms)
        return jobs[first].ends_ms / 1000 + gap_s[first][second] > jobs[second].begins_ms / 1000

    def in_order(numbers: set[int]) -> list[int]:
        return sorted(numbers, key=lambda number: (jobs[number].begins_ms, number))

    def travel_s(numbers: set[int]) -> float:
        return sum(likely_s[a][b] for a, b in pairwise(in_order(numbers)))

    problem = _make_problem(jobs, technicians, likely_s, gap_s)
    day = given_tours(problem, [in_order(held[index]) for index in range(len(technicians))])
    found = routing_search.improve(problem, insert_greedily(problem, day), random, used_share)
    moves = [
        Move(number, None if (holder := jobs[number].holder) is None else index_of[holder], tour.shift)
        for tour in found.tours
        for number in tour.visits
        if number not in held[tour.shift]
    ]
    ranked = rank_groups(group_moves(drop_impossible(moves, held, clash), clash), held, clash, travel_s)
    served = {move.job for group, _ in ranked for move in group}
    waiting = (number for number, job in enumerate(jobs) if job.holder is None and number not in served)
    return PlannedDay(tuple(PlannedGroup(tuple(group), round(saves)) for group, saves in ranked), tuple(waiting))


def _make_problem(
    jobs: Sequence[DayJob],
    technicians: Sequence[DayTechnician],
    likely_s: Sequence[Sequence[float]],
    gap_s: Sequence[Sequence[float]],
) -> DayProblem:
    """Return the problem, with times in seconds since one day before the first job begins."""
    zero = min((job.begins_ms for job in jobs), default=0) // 1000 - DAY_S
    visits, shifts_of = [], []
    for number, job in enumerate(jobs):
        begins = job.begins_ms // 1000 - zero
        duration = -(-job.ends_ms // 1000) - zero - begins
        cost = WAITING_COST_S if job.holder is None else HELD_COST_S
        visits.append(Visit(number, duration, begins, begins, "", cost, job.fixed))
        able = (i for i, who in enumerate(technicians) if job.holder == who.id or (not job.fixed and who.may_do(job)))
        shifts_of.append(tuple(able))
    end = max((visit.latest_s + visit.duration_s for visit in visits), default=0) + DAY_S
    return DayProblem(visits, [Shift(0, end, frozenset())] * len(technicians), likely_s, gap_s, shifts_of)


def _matrices(
    jobs: Sequence[DayJob], model_at: Callable[[int], TravelModel], pause: Callable[[], None]
) -> tuple[list[list[float]], list[list[float]]]:
    """Return two matrices in seconds: the likely travel times between the places of the jobs, and the least time
    between the end of one job and the begin of another.
    """
    likely_s, gap_s = [], []
    for job in jobs:
        pause()
        model = model_at(job.ends_ms)
        ways = [distance_m(job.lat, job.lon, other.lat, other.lon) for other in jobs]
        likely = [model.travel_time_s(way) for way in ways]
        likely_s.append(likely)
        gap_s.append(
            [
                travel * model.high + max(job.buffer_ms, other.buffer_ms) / 1000 + 1
                for travel, other in zip(likely, jobs, strict=True)
            ]
        )
    return likely_s, gap_s
