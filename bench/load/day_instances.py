"""Create days for the day planner from a seed: jobs at places of an artificial city or of a trace of pickups, and
technicians with shifts. ``check_day`` checks solutions, and uses no code of the planner except the description of the
day.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from engine.rules.distances import METRES_PER_DEGREE, distance_m
from engine.rules.routing import DayProblem, Shift, Visit

Place = tuple[float, float]

SKILLS = ("plumbing", "heating", "electrics", "locks")
SKILLS_EACH = 2
SHIFT_S = 10 * 3600
WINDOW_S = 2 * 3600
WINDOW_SHARE = 0.6
DURATIONS_MIN = (20, 30, 40, 50)
TRAVEL_S_PER_KM, TRAVEL_EXPONENT = 150.0, 0.75
"""A ride of ``km`` kilometres as the crow flies takes 150 s × km ^ 0.75. Callout uses these travel times before it has
learnt any.
"""
CENTRES, CITY_KM, CENTRE_KM = 6, 12.0, 2.0
"""The artificial city: how many centres it has, its width, and the spread of places around a centre (km). A third of
the places are anywhere, the others lie around centres.
"""


def artificial_places(random: Random, number: int) -> list[Place]:
    """Return ``number`` places of the artificial city: two thirds of them around its centres, the others anywhere."""
    km = 1000 / METRES_PER_DEGREE
    centres = [(random.uniform(-1, 1) * CITY_KM, random.uniform(-1, 1) * CITY_KM) for _ in range(CENTRES)]
    places = []
    for _ in range(number):
        if random.random() < 1 / 3:
            north, east = random.uniform(-1, 1) * CITY_KM, random.uniform(-1, 1) * CITY_KM
        else:
            centre = random.choice(centres)
            north, east = random.gauss(centre[0], CENTRE_KM), random.gauss(centre[1], CENTRE_KM)
        lat = 52.5 + north * km
        places.append((lat, 13.4 + east * km / math.cos(math.radians(lat))))
    return places


def make_day(random: Random, pool: Sequence[Place] | None, jobs: int, technicians: int) -> DayProblem:
    """Return a day. Its places come from ``pool``, or from an artificial city if ``pool`` is None. Each technician has
    two of four skills. Three of five jobs have a window of two hours. Shifts have ten hours and begin at home.
    """
    number = jobs + technicians
    places = random.sample(pool, number) if pool else artificial_places(random, number)
    visits = []
    for place in range(jobs):
        duration = random.choice(DURATIONS_MIN) * 60
        earliest, latest = 0, SHIFT_S - duration
        if random.random() < WINDOW_SHARE:
            earliest = random.randrange(0, SHIFT_S - WINDOW_S - duration, 900)
            latest = earliest + WINDOW_S
        visits.append(Visit(place, duration, earliest, latest, random.choice(SKILLS)))
    shifts = []
    for index in range(technicians):
        skills = {SKILLS[index % len(SKILLS)]}
        while len(skills) < SKILLS_EACH:
            skills.add(random.choice(SKILLS))
        shifts.append(Shift(0, SHIFT_S, frozenset(skills), jobs + index))
    return DayProblem(visits, shifts, [[_travel_s(a, b) for b in places] for a in places])


def _travel_s(origin: Place, destination: Place) -> int:
    return round(TRAVEL_S_PER_KM * math.pow(distance_m(*origin, *destination) / 1000, TRAVEL_EXPONENT))


def check_day(problem: DayProblem, tours: Sequence[Sequence[int]]) -> tuple[float, list[str]]:
    """Check the day of each technician. Return the total travel time in seconds and a sentence for each broken rule."""
    travelled, flaws, seen = 0.0, [], set()
    for shift, tour in zip(problem.shifts, tours, strict=True):
        clock: float = shift.start_s
        here = shift.start_place
        for number in tour:
            visit = problem.visits[number]
            if number in seen:
                flaws.append(f"visit {number} is made twice")
            seen.add(number)
            if visit.skill not in shift.skills:
                flaws.append(f"visit {number} needs {visit.skill}")
            if here is not None:
                way = problem.travel[here][visit.place]
                travelled, clock = travelled + way, clock + way
            clock = max(clock, visit.earliest_s)
            if clock > visit.latest_s:
                flaws.append(f"visit {number} begins {clock - visit.latest_s} s late")
            clock, here = clock + visit.duration_s, visit.place
        if here is not None and tour and shift.end_place is not None:
            way = problem.travel[here][shift.end_place]
            travelled, clock = travelled + way, clock + way
        if clock > shift.end_s:
            flaws.append(f"a shift ends {clock - shift.end_s} s late")
    return travelled, flaws
