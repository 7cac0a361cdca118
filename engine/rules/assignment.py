"""Solvers of the assignment problem: assign jobs to technicians so that the sum of the costs is least, or nearly least.

``edges[job]`` lists the technicians who may get the job, each with the cost. ``unmatched[job]`` is the cost of leaving
the job without a technician. All costs are integers in the same unit (a window uses ms of travel), so that sums are
exact. Jobs and technicians are numbers. Each solver returns for each job the number of its technician, or ``NOBODY``.
No technician gets two jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from time import perf_counter

Edges = Sequence[Sequence[tuple[int, int]]]
"""For each job the pairs (technician, cost). A technician occurs at most once for a job."""

NOBODY = -1
INFINITE = 1 << 62


class TooSlow(Exception):
    """Raised when a solver exceeds its time limit."""


def exact(edges: Edges, unmatched: Sequence[int], limit_s: float = 0.0) -> list[int]:
    """Return an assignment of the least cost: shortest augmenting paths over sparse edges (R. Jonker and A. Volgenant,
    "A shortest augmenting path algorithm for dense and sparse linear assignment problems", Computing 38, 1987).

    Raises TooSlow after ``limit_s`` seconds (0: no limit).
    """
    solver, ends = _ExactSolver(edges, unmatched), perf_counter() + limit_s if limit_s else 0.0
    for job in range(len(edges)):
        solver.add_job(job)
        if ends and perf_counter() > ends:
            raise TooSlow
    return solver.taken


class _ExactSolver:
    """The state of ``exact``: an assignment of the least cost of the jobs that were added so far, and the dual
    variables that prove it: ``price`` of each technician, at most 0, and ``taken_cost`` of each job.
    """

    def __init__(self, edges: Edges, unmatched: Sequence[int]) -> None:
        self.edges = edges
        self.unmatched = unmatched
        self.taken = [NOBODY] * len(edges)
        self.taken_cost = [0] * len(edges)
        self.holder: dict[int, int] = {}
        self.price: dict[int, int] = {}

    def add_job(self, new: int) -> None:
        """Add one job. A search in the order of reduced costs (Dijkstra) finds the cheapest chain of jobs, each of
        which gives up its technician to the job before it. The chain ends at a free technician, or at a job that is
        left without a technician.

        A job that was left without a technician never gets one later: a chain goes from a technician to the job that
        holds them, and this job holds nobody. The result is still optimal, because later jobs only add competition.
        """
        taken, price = self.taken, self.price
        distance: dict[int, int] = {}
        giver: dict[int, int] = {}  # technician: the job from which the chain comes to this technician
        queue: list[tuple[int, int]] = []
        settled: list[int] = []
        job, offset, left, left_at = new, 0, new, self.unmatched[new]
        while True:
            for technician, cost in self.edges[job]:
                reduced = cost - price.get(technician, 0) - offset
                if reduced < left_at and reduced < distance.get(technician, INFINITE):
                    distance[technician], giver[technician] = reduced, job
                    heappush(queue, (reduced, technician))
            while queue and queue[0][0] > distance[queue[0][1]]:
                heappop(queue)  # a shorter chain to this technician has been found meanwhile
            if not queue or queue[0][0] >= left_at:
                technician, reached = NOBODY, left_at
                break
            reached, technician = heappop(queue)
            if technician not in self.holder:
                break
            settled.append(technician)
            job = self.holder[technician]
            offset = self.taken_cost[job] - price.get(technician, 0) - reached
            if self.unmatched[job] - offset < left_at:
                left, left_at = job, self.unmatched[job] - offset
        for each in settled:
            price[each] = price.get(each, 0) + distance[each] - reached
        if technician != NOBODY:
            self._pass_technicians(new, technician, giver)
        elif left != new:
            technician, taken[left] = taken[left], NOBODY
            self._pass_technicians(new, technician, giver)

    def _pass_technicians(self, new: int, technician: int, giver: dict[int, int]) -> None:
        """Move the technicians along the chain, from its end ``technician`` to the job ``new``."""
        job = NOBODY
        while job != new:
            job = giver[technician]
            previous = self.taken[job]
            self.taken[job], self.holder[technician] = technician, job
            self.taken_cost[job] = next(cost for each, cost in self.edges[job] if each == technician)
            technician = previous


def shortest_first(edges: Edges, unmatched: Sequence[int], limit_s: float = 0.0) -> list[int]:
    """Return the assignment that takes the cheapest pairs first, in the time of a sort. Its cost may be larger than
    that of ``exact``. It never raises TooSlow.
    """
    taken, busy = [NOBODY] * len(edges), set[int]()
    pairs = sorted(
        (cost, job, technician) for job, row in enumerate(edges) for technician, cost in row if cost < unmatched[job]
    )
    for _, job, technician in pairs:
        if taken[job] == NOBODY and technician not in busy:
            taken[job] = technician
            busy.add(technician)
    return taken
