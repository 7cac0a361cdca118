"""A matching window: compute the cost of each assignment, choose the assignments, and explain them.

A cost is a travel time. The other parts of a technician's score are in points (``[dispatch] weights`` of a blueprint):
a kilometre of distance with the weight 1 is one point. A point costs as much as ``POINT_S`` seconds of travel: with
``rating = 2`` a star is worth 120 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from engine.rules.assignment import NOBODY, TooSlow, shortest_first
from engine.rules.matchers import Matcher

POINT_S = 60.0
"""How many seconds of travel a point costs: a kilometre at 60 km/h."""
BEST_STARS = 5.0
SOLVE_LIMIT_S = 0.02
"""How long a matcher may take, in seconds. If it takes longer, this window assigns the cheapest pairs first."""
MAX_SCORES = 16
"""How many scores the record of a wave has at most (lua/lib/allocation.lua has the same limit)."""


class TravelTimes(Protocol):
    """The travel times of a zone (engine/rules/travel.py)."""

    def travel_time_s(self, distance_m: float) -> float: ...


class ScoreWeights(Protocol):
    """The weights of a blueprint (``Weights`` in engine/blueprint/schema.py)."""

    @property
    def distance(self) -> float: ...
    @property
    def rating(self) -> float: ...
    @property
    def acceptance(self) -> float: ...
    @property
    def workload(self) -> float: ...


class Candidate(msgspec.Struct, frozen=True):
    """A technician who may get the job. ``far_m`` is their distance in metres. ``parts`` are the parts of their score
    in points, of which less is better: distance, rating, acceptance, waiting and workload.
    """

    technician: str
    far_m: float
    parts: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """Return a candidate from the text that lua/match_view.lua writes."""
        technician, far_m, distance, *others = text.split(" ")
        if not others:
            return cls(technician, float(far_m), (float(distance), 0.0, 0.0, 0.0, 0.0))
        return cls(technician, float(far_m), (float(distance), *map(float, others)))


class WaitingJob(msgspec.Struct, frozen=True):
    """A job in a window. ``reach_m`` is the largest distance at which a technician may get the job now. ``how`` says
    why the candidates may get the job: ``reach``, they are within it; ``preferred``, the customer prefers the only
    candidate; ``beyond``, the only candidate is farther away, but nobody nearer could come if the job waited.
    ``costs`` has the cost of each candidate, and ``unmatched`` is the cost of leaving the job without a technician,
    all in ms of travel.
    """

    id: str
    version: int
    blueprint: str
    status: str
    customer: str
    waiting_ms: int
    reach_m: float
    how: Literal["reach", "preferred", "beyond"]
    candidates: tuple[Candidate, ...]
    costs: tuple[int, ...] = ()
    unmatched: int = 0

    def join(self, other: WaitingJob) -> WaitingJob:
        """Merge this job with the same job as another call of ``match_view`` read it. The candidates are those of both
        calls, without those ``beyond`` the reach if somebody is within it. The lower version is taken: ``match_take``
        refuses it if the job changed between the calls.
        """
        both = [job for job in (self, other) if job.candidates] or [self]
        how = max((job.how for job in both), key=("beyond", "reach", "preferred").index)
        candidates = {each.technician: each for job in both if job.how == how for each in job.candidates}
        version = min(self.version, other.version)
        return msgspec.structs.replace(self, version=version, how=how, candidates=tuple(candidates.values()))

    def with_costs(self, weights: ScoreWeights, travel: TravelTimes, *, farthest_m: float) -> WaitingJob:
        """Return the job with its costs. ``farthest_m`` is the distance to which the reach would have grown by now if
        it had no limit. It sets the cost of no technician: the longer a job waits, the more travel the window accepts
        for other jobs so that this job gets somebody.

        No technician always costs more than any candidate.
        """
        worst = POINT_S * (BEST_STARS * weights.rating + weights.acceptance + weights.workload)
        costs = tuple(
            _cost_ms(travel.travel_time_s(each.far_m) * weights.distance, each.parts[1:], weights)
            for each in self.candidates
        )
        nobody = travel.travel_time_s(max(farthest_m, self.reach_m)) * weights.distance + worst
        return msgspec.structs.replace(self, costs=costs, unmatched=max(round(nobody * 1000), *costs, 0) + 1)


def _cost_ms(travel_s: float, parts: Sequence[float], weights: ScoreWeights) -> int:
    """Return a cost in ms: the travel time, plus the points by which the other parts of the technician's score are
    worse than the best ones.
    """
    return round((travel_s + POINT_S * (sum(parts) + BEST_STARS * weights.rating + weights.acceptance)) * 1000)


class Match(msgspec.Struct, frozen=True):
    """A proposal of a window: the job goes to the candidate with this index. ``others`` are the indexes of the other
    candidates, the cheapest first. ``why_not_nearest`` is a sentence that says why a nearer technician does not get the
    job; None if this candidate is the nearest.
    """

    job: WaitingJob
    index: int
    others: tuple[int, ...]
    why_not_nearest: str | None

    @property
    def technician(self) -> str:
        """The id of the technician."""
        return self.job.candidates[self.index].technician


def solve(jobs: Sequence[WaitingJob], matcher: Matcher, max_jobs: int) -> tuple[list[Match], bool]:
    """Return the matches of a window, and whether the cheapest pairs were assigned first instead of by ``matcher``,
    because there are more than ``max_jobs`` jobs or the matcher was too slow. Before that, the technicians whom a
    customer prefers get these customers' jobs.
    """
    chosen: dict[int, int] = {}
    busy: set[str] = set()
    for number, job in enumerate(jobs):
        if job.how == "preferred" and job.candidates and job.candidates[0].technician not in busy:
            chosen[number] = 0
            busy.add(job.candidates[0].technician)
    rest = [number for number, job in enumerate(jobs) if number not in chosen and job.candidates]
    indexes: dict[str, int] = {}
    edges = [
        [
            (indexes.setdefault(each.technician, len(indexes)), cost)
            for each, cost in zip(jobs[number].candidates, jobs[number].costs, strict=True)
            if each.technician not in busy
        ]
        for number in rest
    ]
    unmatched = [jobs[number].unmatched for number in rest]
    degraded = len(rest) > max_jobs
    try:
        taken = (shortest_first if degraded else matcher)(edges, unmatched, SOLVE_LIMIT_S)
    except TooSlow:
        taken, degraded = shortest_first(edges, unmatched), True
    names = list(indexes)
    for number, technician in zip(rest, taken, strict=True):
        if technician != NOBODY:
            ids = [each.technician for each in jobs[number].candidates]
            chosen[number] = ids.index(names[technician])
    return _explain_matches(jobs, chosen), degraded


def _explain_matches(jobs: Sequence[WaitingJob], chosen: dict[int, int]) -> list[Match]:
    """Return a match for each entry of ``chosen``: the index of a job, and the index of the job's candidate."""
    job_of = {jobs[number].candidates[index].technician: jobs[number] for number, index in chosen.items()}
    matches = []
    for number, index in sorted(chosen.items()):
        job = jobs[number]
        others = sorted(
            (each for each in range(len(job.candidates)) if each != index), key=lambda each: job.costs[each]
        )
        matches.append(Match(job, index, tuple(others), _why_not_nearest(job, index, job_of)))
    return matches


def _why_not_nearest(job: WaitingJob, index: int, job_of: dict[str, WaitingJob]) -> str | None:
    """Return why the nearest candidate does not get the job; None if they do. ``job_of`` has the job that each
    technician gets.
    """
    nearest = min(range(len(job.candidates)), key=lambda each: job.candidates[each].far_m)
    closer_m = round(job.candidates[index].far_m - job.candidates[nearest].far_m)
    if closer_m <= 0:
        return None
    technician = job.candidates[nearest].technician
    other = job_of.get(technician)
    said = f"{technician} was nearer by {closer_m} m"
    if other is None:
        return f"{said}, but costs {_seconds(job.costs[nearest] - job.costs[index])} s more by rating and workload"
    return f"{said} and went to {other.id}, which {_reason_of_rival(other, technician)}"


def _reason_of_rival(job: WaitingJob, technician: str) -> str:
    if job.how == "preferred":
        return "prefers them"
    costs = {each.technician: cost for each, cost in zip(job.candidates, job.costs, strict=True)}
    own = costs.pop(technician)
    if not costs:
        return "had nobody else within reach"
    return f"would cost {_seconds(min(costs.values()) - own)} s more without them"


def _seconds(cost_ms: int) -> str:
    return f"{cost_ms / 1000:.0f}"


def record_members(match: Match, *, window: str, jobs: int, free: int) -> str:
    """Return the members that a window adds to the record of a wave, as JSON with a comma before each. ``window`` is
    the time of the window, ``jobs`` how many jobs waited, ``free`` how many technicians were free. The costs are in
    seconds.
    """
    job, others = match.job, match.others
    next_best = [{"technician": job.candidates[each].technician, "cost": job.costs[each] / 1000} for each in others[:1]]
    members = {
        "scores": scores_of(match),
        "window": window,
        "jobs": jobs,
        "free": free,
        "cost": job.costs[match.index] / 1000,
        "next_best": next_best[0] if next_best else None,
        "why_not_nearest": match.why_not_nearest,
    }
    return "," + msgspec.json.encode(members)[1:-1].decode()


def scores_of(match: Match) -> list[dict[str, str | float]]:
    """Return the scores of the best candidates of a match, the cheapest first, in points."""
    return [_score(match.job, each) for each in (match.index, *match.others)[:MAX_SCORES]]


def _score(job: WaitingJob, index: int) -> dict[str, str | float]:
    candidate = job.candidates[index]
    names = ("distance", "rating", "acceptance", "waiting", "workload")
    parts = dict(zip(names, candidate.parts, strict=True))
    return {"technician": candidate.technician, "score": round(sum(candidate.parts), 3), **parts}
