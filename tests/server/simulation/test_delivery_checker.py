"""The tally finds what was lost, doubled or won twice, and does not find what was not."""

from __future__ import annotations

from typing import Any

import pytest

from server.simulation.delivery_checker import DeliveryChecker, Logged, percentiles

AT = "2026-01-31T12:00:00.000Z"


def hello(user: str, seq: int, *, recovered: bool = False, role: str = "technician") -> dict[str, Any]:
    zone = {"epoch": "e1", "seq": seq, "recovered": recovered, "missed": 0}
    return {"user": {"id": user, "role": role}, "zones": {"main": zone}}


def push(seq: int) -> dict[str, Any]:
    return {"type": "offer.created", "zone": "main", "seq": seq, "at": AT, "data": {}}


def log_of(*entries: tuple[int, str, str]) -> Logged:
    log = Logged()
    for seq, kind, to in entries:
        log.add(seq, kind, to.split(), {})
    return log


def accepted(log: Logged, seq: int, technician: str, kind: str = "job.accepted") -> None:
    log.add(seq, kind, ["user:c"], {"job": {"id": "j"}, "technician": {"id": technician}})


def test_an_event_that_never_came_is_lost() -> None:
    """Of three entries to him he got two: one is lost, and the other user's is none of his."""
    tally = DeliveryChecker()
    tally.joined(hello("t1", 10))
    tally.received("t1", push(11))
    tally.received("t1", push(13))
    log = log_of(
        (11, "offer.created", "user:t1 user:t2"),
        (12, "offer.closed", "user:t1"),
        (13, "offer.created", "user:t1"),
        (14, "offer.created", "user:t2"),
    )
    assert tally.lost_events(log, "main") == 1
    assert tally.strange_events(log, "main") == 0


def test_what_is_still_on_its_way_is_not_lost() -> None:
    """Losses are counted up to a seq, so that a log that goes on growing does not look like one that is not told."""
    tally = DeliveryChecker()
    tally.joined(hello("t1", 10))
    log = log_of((11, "offer.created", "user:t1"), (12, "offer.closed", "user:t1"))
    assert [tally.lost_events(log, "main", until) for until in (10, 11, 12)] == [0, 1, 2]


def test_events_of_his_role_are_expected_too() -> None:
    """An operator hears what goes to role:ops, a technician does not."""
    tally = DeliveryChecker()
    tally.joined(hello("cli_admin", 0, role="admin"))
    tally.joined(hello("t1", 0))
    assert tally.lost_events(log_of((1, "job.created", "role:ops user:c")), "main") == 1


def test_what_was_before_his_connect_and_what_is_for_gateways_is_not_expected() -> None:
    """Entries at or below the head at joining, and session.* entries, are nobody's loss."""
    tally = DeliveryChecker()
    tally.joined(hello("t1", 10))
    log = log_of((9, "offer.created", "user:t1"), (10, "offer.closed", "user:t1"), (11, "session.revoked", "user:t1"))
    assert tally.lost_events(log, "main") == 0


def test_what_passed_while_he_was_cut_off_is_expected_if_he_was_recovered() -> None:
    """A recovered connect promises the missed events: one that did not come is lost."""
    tally = DeliveryChecker()
    tally.joined(hello("t1", 10))
    tally.joined(hello("t1", 20, recovered=True))
    assert tally.lost_events(log_of((15, "offer.created", "user:t1")), "main") == 1


def test_a_gap_that_he_was_told_of_is_no_loss() -> None:
    """After recovered:false he is owed only what follows the head he was given."""
    tally = DeliveryChecker()
    tally.joined(hello("t1", 10))
    tally.received("t1", push(12))
    tally.joined(hello("t1", 20))
    entries = [(seq, "offer.created", "user:t1") for seq in (12, 15, 21)]
    assert tally.lost_events(log_of(*entries), "main") == 1


def test_an_event_that_came_twice_is_a_duplicate() -> None:
    """Repeats are counted each."""
    tally = DeliveryChecker()
    tally.joined(hello("t1", 0))
    tally.received("t1", push(1))
    tally.repeated("t1")
    tally.repeated("t1")
    assert tally.duplicate_events() == 2


def test_an_event_that_was_not_for_him_is_strange() -> None:
    """What reached a user without being addressed to him is told apart from loss."""
    tally = DeliveryChecker()
    tally.joined(hello("t1", 0))
    tally.received("t1", push(1))
    assert tally.strange_events(log_of((1, "offer.created", "user:t2")), "main") == 1


def test_two_holders_in_the_log_are_a_double_claim() -> None:
    """A second job.accepted counts unless the job was unassigned in between."""
    log = Logged()
    accepted(log, 1, "t1")
    accepted(log, 2, "t1", kind="job.unassigned")
    accepted(log, 3, "t2")
    assert DeliveryChecker().double_claims(log) == 0
    accepted(log, 4, "t3")
    assert DeliveryChecker().double_claims(log) == 1


def test_a_winner_of_whom_the_log_does_not_know_is_a_double_claim() -> None:
    """A technician who was told "Job accepted" and is no holder in the log was told wrong."""
    log, tally = Logged(), DeliveryChecker()
    accepted(log, 1, "t1")
    tally.won("j", "t1")
    assert tally.double_claims(log) == 0
    tally.won("j", "t2")
    assert tally.double_claims(log) == 1


def test_without_a_log_two_told_winners_are_a_double_claim() -> None:
    """What the clients were told is enough to see two winners."""
    tally = DeliveryChecker()
    tally.booked({"id": "j"}, 1.0)
    tally.won("j", "t1")
    assert tally.double_claims(None) == 0
    tally.won("j", "t2")
    assert tally.double_claims(None) == 1


def test_a_job_is_undecided_until_its_customer_hears_of_it() -> None:
    """Won or expired ends the waiting; a job of another run is never waited for."""
    tally = DeliveryChecker()
    for job in ("a", "b", "c"):
        tally.booked({"id": job}, 1.0)
    tally.accepted("a", 2.0)
    tally.ended("b", "expired")
    tally.ended("another", "completed")
    assert [job for job, _ in tally.undecided()] == ["c"]
    assert [tally.count(what) for what in ("booked", "claimed", "expired", "completed")] == [3, 1, 1, 0]


def test_time_to_claim_runs_from_acknowledgement_to_holder() -> None:
    """News that overtook the acknowledgement counts as nought, not as a negative time."""
    tally = DeliveryChecker()
    tally.booked({"id": "a"}, 10.0)
    tally.accepted("a", 10.25)
    tally.accepted("b", 9.0)
    tally.booked({"id": "b"}, 10.0)
    assert tally.time_to_claim_ms() == {"p50": 0.0, "p99": 250.0}


def test_forgetting_keeps_the_counts() -> None:
    """A city that lives on keeps its figures and not its jobs."""
    tally = DeliveryChecker(recent=10)
    tally.joined(hello("c", 0, role="customer"))
    tally.received("c", push(1))
    tally.booked({"id": "a"}, 1.0)
    tally.accepted("a", 1.5)
    tally.ended("a", "completed")
    tally.booked({"id": "b"}, 1.0)
    before = [tally.count(what) for what in ("booked", "claimed", "completed")]
    tally.forget()
    assert list(tally.courses) == ["b"]
    assert [tally.count(what) for what in ("booked", "claimed", "completed")] == before == [2, 1, 1]
    assert tally.time_to_claim_ms()["p50"] == 500.0
    assert not tally.hearers["c"].received


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], {"p50": None, "p99": None}),
        ([7], {"p50": 7, "p99": 7}),
        (range(1, 101), {"p50": 50, "p99": 99}),
    ],
)
def test_percentiles_are_by_nearest_rank(values: Any, expected: dict[str, Any]) -> None:
    """No value between two measured ones is invented; without any, null."""
    assert percentiles(values) == expected
