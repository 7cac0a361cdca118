"""The decisions of a matching window, without Redis: costs, preferred technicians, and the reason why nobody nearer was
assigned.
"""

from __future__ import annotations

import msgspec
import pytest

from engine.blueprint.schema import Weights
from engine.rules import assignment, matching
from engine.rules.matching import Candidate, WaitingJob
from engine.rules.travel import TravelModel

TRAVEL = TravelModel(100.0, exponent=1.0)
"""A kilometre takes 100 s."""
WEIGHTS = Weights(distance=1.0, rating=2.0, workload=5.0)


def job(name: str, *near: tuple[str, float, float], reach_m: float = 2_800, how: str = "reach") -> WaitingJob:
    """Return a job whose candidates are (technician, metres, stars), with its costs."""
    candidates = tuple(Candidate(who, far_m, (far_m / 1000, -2 * stars, 0, 0, 0)) for who, far_m, stars in near)
    waiting = WaitingJob(name, 1, "managed@5", "requested", "carla", 0, reach_m, how, candidates)  # type: ignore[arg-type]
    return waiting.with_costs(WEIGHTS, TRAVEL, farthest_m=reach_m)


def solve(*jobs: WaitingJob, max_jobs: int = 256) -> tuple[dict[str, str], bool]:
    """Return the technician of each job, and whether the window assigned the cheapest pairs first."""
    matches, degraded = matching.solve(jobs, assignment.exact, max_jobs)
    return {match.job.id: match.technician for match in matches}, degraded


def test_a_cost_is_in_seconds_of_travel() -> None:
    """A kilometre costs its travel time, a star 120 s (``rating = 2``), a full load 300 s (``workload = 5``)."""
    [near, good] = job("j", ("near", 1_000, 4.0), ("good", 2_000, 5.0)).costs
    assert (near, good) == (100_000 + 120_000, 200_000)
    loaded = WaitingJob("j", 1, "b", "s", "c", 0, 2_800, "reach", (Candidate("t", 0, (0, -10, 0, 0, 5)),))
    assert loaded.with_costs(WEIGHTS, TRAVEL, farthest_m=2_800).costs == (300_000,)


def test_whoever_is_within_reach_costs_less_than_nobody() -> None:
    """A technician at the edge of the reach, without stars and with a full load, still costs less than leaving the job
    without a technician, and so does one beyond the reach. This cost of leaving the job rises with the time that it
    waits.
    """
    worst = job("j", ("t", 2_800, 0.0))
    assert worst.costs[0] < worst.unmatched
    beyond = job("j", ("t", 90_000, 0.0), how="beyond")
    assert beyond.costs[0] < beyond.unmatched
    assert job("j", reach_m=2_800).unmatched < job("j", reach_m=5_000).unmatched


def test_two_views_of_a_job_are_joined() -> None:
    """The candidates of two views are joined under the older version. Candidates beyond the reach are dropped if
    another one is within it. A view without candidates changes nothing else.
    """
    near, also = job("j", ("a", 100, 5.0)), msgspec.structs.replace(job("j", ("b", 200, 5.0)), version=2)
    beyond, nobody = job("j", ("c", 9_000, 5.0), how="beyond"), job("j")
    for views, how, expected in (
        ((near, also), "reach", ["a", "b"]),
        ((beyond, near), "reach", ["a"]),
        ((nobody, beyond), "beyond", ["c"]),
        ((nobody, nobody), "reach", []),
    ):
        joined = views[0].join(views[1])
        assert (joined.how, [each.technician for each in joined.candidates]) == (how, expected)
    assert also.join(near).version == 1


def test_the_preferred_technician_goes_first() -> None:
    """A preferred technician gets their customer's job, even if another job needs them more. Of two jobs that prefer
    the same technician, only one gets them.
    """
    needy = job("needy", ("tom", 10, 5.0))
    wanted = job("wanted", ("tom", 2_000, 5.0), how="preferred")
    assert solve(needy, wanted)[0] == {"wanted": "tom"}
    assert solve(wanted, msgspec.structs.replace(wanted, id="second"))[0] == {"wanted": "tom"}


def test_a_large_window_takes_the_shortest_pairs_first() -> None:
    """If there are more jobs than the blueprint allows for the exact solver, or if the solver is too slow, the window
    assigns the cheapest pairs first and reports this.
    """
    one, two = job("one", ("a", 100, 5.0), ("b", 200, 5.0)), job("two", ("a", 90, 5.0))
    other = job("one", ("a", 80, 5.0), ("b", 200, 5.0))
    assert solve(one, two) == ({"one": "b", "two": "a"}, False)
    assert solve(other, two) == ({"one": "b", "two": "a"}, False)
    assert solve(other, two, max_jobs=1) == ({"one": "a"}, True)

    def slow(*_: object) -> list[int]:
        raise assignment.TooSlow

    matches, degraded = matching.solve([other, two], slow, 256)  # type: ignore[arg-type]
    assert [match.technician for match in matches] == ["a"] and degraded


@pytest.mark.parametrize(
    ("jobs", "why"),
    [
        ((job("j", ("a", 100, 5.0), ("b", 200, 5.0)),), None),
        (
            (job("j", ("a", 100, 3.0), ("b", 200, 5.0)),),
            "a was nearer by 100 m, but costs 230 s more by rating and workload",
        ),
        (
            (job("j", ("a", 100, 5.0), ("b", 200, 5.0)), job("k", ("a", 150, 5.0))),
            "a was nearer by 100 m and went to k, which had nobody else within reach",
        ),
        (
            (job("j", ("a", 100, 5.0), ("b", 200, 5.0)), job("k", ("a", 150, 5.0), ("c", 1_150, 5.0))),
            "a was nearer by 100 m and went to k, which would cost 100 s more without them",
        ),
        (
            (job("j", ("a", 100, 5.0), ("b", 200, 5.0)), job("k", ("a", 900, 5.0), how="preferred")),
            "a was nearer by 100 m and went to k, which prefers them",
        ),
    ],
)
def test_the_record_says_why_nobody_nearer_was_taken(jobs: tuple[WaitingJob, ...], why: str | None) -> None:
    """The record of the first job has the reason; it has none if the nearest technician was assigned."""
    match = matching.solve(jobs, assignment.exact, 256)[0][0]
    assert match.job.id == "j" and match.why_not_nearest == why
    record = msgspec.json.decode("{" + matching.record_members(match, window="w", jobs=2, free=3)[1:] + "}")
    assert record["why_not_nearest"] == why and (record["jobs"], record["free"], record["window"]) == (2, 3, "w")
    assert record["cost"] == match.job.costs[match.index] / 1000
    assert record["next_best"]["technician"] == match.job.candidates[match.others[0]].technician
