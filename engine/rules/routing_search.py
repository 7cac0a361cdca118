"""Improve the tours of a day by *ruin and recreate*: visits are repeatedly removed and inserted where they cost less.

The method is *slack induction by string removals* (Christiaens and Vanden Berghe, Transportation Science 54, 2020):
each round removes a string of successive visits from each of a few neighbouring tours and inserts them again one by
one, each at its cheapest place. Simulated annealing decides whether the new solution replaces the present one: it may
be a little worse, and less so the nearer the end of the search is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from engine.rules.routing import DayProblem, DayTours, Tour

MAX_STRING = 10
"""The most visits that are removed from one tour, as in the paper."""
MEAN_REMOVED = 10
"""How many visits a round removes on average, as in the paper."""
MAX_RETRIED = 3
"""How many of the visits that nobody makes a round tries again."""
BLINK = 0.02
"""The share of tours that an insertion overlooks, so that not every round ends in the same solution."""
START_TEMPERATURE, END_TEMPERATURE = 0.5, 0.005
"""The temperature at the start and at the end, as multiples of the mean travel time between two visits."""


def improve(problem: DayProblem, day: DayTours, random: Random, used_share: Callable[[], float]) -> DayTours:
    """Return the best solution that was found, starting from ``day``. Each round calls ``used_share``, which returns
    the used share of the budget (0 to 1); the search ends at 1. A fixed visit stays in its tour.
    """
    movable = [visit for visit, spec in enumerate(problem.visits) if not spec.fixed]
    if not movable or not problem.shifts:
        return day
    search = _Search(problem, movable, random)
    unit = search.mean_travel_s()
    now, cost = day, day.cost_s(problem)
    best, least = now, cost
    while (share := used_share()) < 1:
        temperature = unit * START_TEMPERATURE * (END_TEMPERATURE / START_TEMPERATURE) ** share
        found = search.ruin_and_recreate(now)
        found_cost = found.cost_s(problem)
        if found_cost < cost - temperature * math.log(1 - random.random()):
            now, cost = found, found_cost
            if cost < least - 1e-6:
                best, least = now, cost
    return best


class _Search:
    def __init__(self, problem: DayProblem, movable: list[int], random: Random) -> None:
        self.problem, self.movable, self.random = problem, movable, random
        places = [visit.place for visit in problem.visits]
        self.neighbours: dict[int, list[int]] = {}
        for visit in movable:
            ways = problem.travel[places[visit]]
            self.neighbours[visit] = sorted(movable, key=[ways[place] for place in places].__getitem__)
        visits = problem.visits
        self.width = [visit.latest_s - visit.earliest_s for visit in visits]
        self.choices = [len(shifts) for shifts in problem.shifts_of]

    def mean_travel_s(self) -> float:
        """Return the mean travel time (seconds) from a visit to the nearer half of the others; at least 1."""
        travel, places = self.problem.travel, [visit.place for visit in self.problem.visits]
        ways = [
            travel[places[visit]][places[other]]
            for visit in self.movable[:200]
            for other in self.neighbours[visit][: len(self.movable) // 2 + 1]
        ]
        return max(1.0, sum(ways) / len(ways))

    def ruin_and_recreate(self, day: DayTours) -> DayTours:
        tours, unserved = list(day.tours), list(day.unserved)
        self.random.shuffle(unserved)
        absent = self._ruin(tours, unserved[:MAX_RETRIED])
        self._sort(absent)
        left = self._recreate(tours, absent)  # this call changes the tours
        return DayTours(tuple(tours), (*left, *unserved[MAX_RETRIED:]))

    def _ruin(self, tours: list[Tour], absent: list[int]) -> list[int]:
        """Remove strings of visits near a random visit from ``tours``. Return ``absent`` and the removed visits."""
        random, fixed = self.random, self.problem.visits
        tour_of = {visit: shift for shift, tour in enumerate(tours) for visit in tour.visits}
        mean_length = max(1.0, len(tour_of) / sum(1 for tour in tours if tour.visits)) if tour_of else 1.0
        longest = min(MAX_STRING, mean_length)
        strings = random.uniform(1, 4 * MEAN_REMOVED / (1 + longest))
        ruined: set[int] = set()
        for visit in self.neighbours[random.choice(self.movable)]:
            if len(ruined) >= strings:
                break
            shift = tour_of.get(visit)
            if shift is None or shift in ruined:
                continue
            visits = tours[shift].visits
            length = int(random.uniform(1, min(longest, len(visits)) + 1))
            at = visits.index(visit)
            first = random.randint(max(0, at - length + 1), max(0, min(at, len(visits) - length)))
            removed = [other for other in visits[first : first + length] if not fixed[other].fixed]
            tours[shift] = tours[shift].without(removed)
            absent += removed
            ruined.add(shift)
        return absent

    def _sort(self, absent: list[int]) -> None:
        """Order the visits for their insertion: by their skip cost, the highest first. A random rule orders visits of
        the same cost: narrow windows first, few possible shifts first, long ones first, or no rule.
        """
        random = self.random
        random.shuffle(absent)
        rule = random.random()
        if rule < 0.3:
            absent.sort(key=self.width.__getitem__)
        elif rule < 0.5:
            absent.sort(key=self.choices.__getitem__)
        elif rule < 0.65:
            absent.sort(key=lambda visit: -self.problem.visits[visit].duration_s)
        absent.sort(key=lambda visit: -self.problem.visits[visit].skip_cost_s)

    def _recreate(self, tours: list[Tour], absent: list[int]) -> list[int]:
        """Insert the visits one by one. Return those that fit nowhere or would add more travel than their skip cost."""
        random, problem, unserved = self.random.random, self.problem, []
        for visit in absent:
            least, best, position = problem.visits[visit].skip_cost_s, -1, 0
            for shift in problem.shifts_of[visit]:
                found = tours[shift].best_insertion(visit)
                if found and found[0] < least and random() > BLINK:
                    least, position = found
                    best = shift
            if best < 0:
                unserved.append(visit)
            else:
                tours[best] = tours[best].insert(visit, position)
        return unserved
