"""The checker of schedules finds each constructed overlap, and reports no others."""

from __future__ import annotations

from typing import Any

import pytest

from engine.events import rfc3339_of
from server.simulation.overlap_checker import Change, OverlapChecker

MINUTE_MS = 60_000
NOON = 1_900_000_000_000
NEAR, KM_AWAY = (52.52, 13.405), (52.529, 13.405)


def job_of(name: str, holder: str | None, starts_min: int | None, **more: Any) -> dict[str, Any]:
    """Return a job of 30 minutes, ``starts_min`` after noon (None: without a time)."""
    place = more.pop("place", NEAR)
    when = None if starts_min is None else rfc3339_of(NOON + starts_min * MINUTE_MS)
    technician = {"id": holder} if holder else None
    job = {"id": name, "customer": {"id": "c"}, "technician": technician, "scheduled_for": when, "duration_min": 30}
    return job | {"phase": "assigned", "lat": place[0], "lon": place[1]} | more


def change_of(job: dict[str, Any], at_min: int = -60, **data: Any) -> Change:
    """Return the event that the job has changed ``at_min`` minutes after noon."""
    return Change(NOON + at_min * MINUTE_MS, 1, {"job": job, **data})


@pytest.mark.parametrize(
    ("second", "overlaps"),
    [
        (change_of(job_of("b", "t", 10)), 1),
        (change_of(job_of("b", "t", 44)), 1),
        (change_of(job_of("b", "t", 46)), 0),
        (change_of(job_of("b", "t", 45, place=KM_AWAY)), 1),
        (change_of(job_of("b", "t", 47, place=KM_AWAY)), 0),
        (change_of(job_of("b", "u", 10)), 0),
        (change_of(job_of("b", None, 10)), 0),
        (change_of(job_of("b", "t", 10, phase="closed")), 0),
        (change_of(job_of("b", "t", 10, blueprint="delivery")), 0),
        (change_of(job_of("b", "t", 10, status="work_done")), 0),
        (change_of(job_of("b", "t", 10), forced=True), 0),
        (change_of(job_of("b", "t", None), at_min=-20), 1),
        (change_of(job_of("b", "t", None), at_min=10), 0),
    ],
)
def test_a_second_job_at_the_same_time_is_found(second: Change, overlaps: int) -> None:
    """A job overlaps another one if it begins less than the buffer of 15 minutes plus 100 s for each km after the
    other's end. Jobs that were forced, are over, may be shared, belong to another technician or began while another job
    was running do not count.
    """
    shared, freed = frozenset({"delivery"}), frozenset({"work_done"})
    checker = OverlapChecker(lambda at, metres: metres / 10, 15 * MINUTE_MS, shared, freed)
    checker.follow([change_of(job_of("a", "t", 0))])
    checker.follow([second])
    assert len(checker.overlaps) == overlaps, checker.overlaps


def test_an_exchange_in_one_step_is_no_overlap_and_what_follows_is_checked() -> None:
    """Two technicians exchange their jobs in one step, which is no overlap. A job that is moved to another time is
    compared again. A job that the checker has forgotten is not compared.
    """
    checker = OverlapChecker(lambda at, metres: 0.0, 15 * MINUTE_MS)
    checker.follow([change_of(job_of("a", "t", 0))])
    checker.follow([change_of(job_of("b", "u", 10))])
    checker.follow([change_of(job_of("a", "u", 0)), change_of(job_of("b", "t", 10))])
    assert checker.compared == 0
    checker.follow([change_of(job_of("c", "u", 120))])
    assert (checker.compared, checker.overlaps) == (1, [])
    checker.follow([change_of(job_of("c", "u", 20))])
    assert len(checker.overlaps) == 1
    checker.forget()
    checker.follow([change_of(job_of("d", "u", 20))])
    assert checker.compared == 2
