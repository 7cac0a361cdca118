"""The delivery checker finds lost events, duplicates and double claims, and reports no others."""

from __future__ import annotations

from typing import Any

import pytest

from server.simulation.delivery_checker import DeliveryChecker, LogIndex, percentiles

EVENT_AT = "2026-01-31T12:00:00.000Z"


def connect_reply(user: str, seq: int, *, recovered: bool = False, role: str = "technician") -> dict[str, Any]:
    """Return the reply to the `connect` of ``user``, with the head ``seq``."""
    zone = {"epoch": "e1", "seq": seq, "recovered": recovered, "missed": 0}
    return {"user": {"id": user, "role": role}, "zones": {"main": zone}}


def event_push(seq: int) -> dict[str, Any]:
    """Return an event as a client receives it."""
    return {"type": "offer.created", "zone": "main", "seq": seq, "at": EVENT_AT, "data": {}}


def log_index_of(*entries: tuple[int, str, str]) -> LogIndex:
    """Return a log with these entries: seq, event type, and the channels separated by spaces."""
    log = LogIndex()
    for seq, kind, to in entries:
        log.add_entry(seq, kind, to.split(), {})
    return log


def add_job_event(log: LogIndex, seq: int, technician: str, kind: str = "job.accepted") -> None:
    """Add an event about the job ``j`` and this technician to the log."""
    log.add_entry(seq, kind, ["user:c"], {"job": {"id": "j"}, "technician": {"id": technician}})


def test_an_event_that_was_not_received_is_lost() -> None:
    """If a user received two of three events that were addressed to them, one is lost. An event for another user does
    not count."""
    checker = DeliveryChecker()
    checker.record_join(connect_reply("t1", 10))
    checker.record_event("t1", event_push(11))
    checker.record_event("t1", event_push(13))
    log = log_index_of(
        (11, "offer.created", "user:t1 user:t2"),
        (12, "offer.closed", "user:t1"),
        (13, "offer.created", "user:t1"),
        (14, "offer.created", "user:t2"),
    )
    assert checker.lost_events(log, "main") == 1
    assert checker.unexpected_events(log, "main") == 0


def test_events_after_the_given_seq_are_not_lost() -> None:
    """Lost events are counted only up to the given seq, because later events may not have been delivered yet."""
    checker = DeliveryChecker()
    checker.record_join(connect_reply("t1", 10))
    log = log_index_of((11, "offer.created", "user:t1"), (12, "offer.closed", "user:t1"))
    assert [checker.lost_events(log, "main", until) for until in (10, 11, 12)] == [0, 1, 2]


def test_events_of_the_users_role_are_expected_too() -> None:
    """Events to `role:ops` are expected at an admin and not at a technician."""
    checker = DeliveryChecker()
    checker.record_join(connect_reply("cli_admin", 0, role="admin"))
    checker.record_join(connect_reply("t1", 0))
    assert checker.lost_events(log_index_of((1, "job.created", "role:ops user:c")), "main") == 1


def test_events_before_the_connect_and_for_gateways_are_not_expected() -> None:
    """Entries up to the head at the connect, and `session.*` entries, do not count as lost."""
    checker = DeliveryChecker()
    checker.record_join(connect_reply("t1", 10))
    log = log_index_of(
        (9, "offer.created", "user:t1"), (10, "offer.closed", "user:t1"), (11, "session.revoked", "user:t1")
    )
    assert checker.lost_events(log, "main") == 0


def test_events_during_a_lost_connection_are_expected_if_it_was_recovered() -> None:
    """After a reconnect with `recovered` true, a missed event that was not received counts as lost."""
    checker = DeliveryChecker()
    checker.record_join(connect_reply("t1", 10))
    checker.record_join(connect_reply("t1", 20, recovered=True))
    assert checker.lost_events(log_index_of((15, "offer.created", "user:t1")), "main") == 1


def test_a_reported_gap_is_no_loss() -> None:
    """After a reconnect with `recovered` false, only events after the head of that reply are expected."""
    checker = DeliveryChecker()
    checker.record_join(connect_reply("t1", 10))
    checker.record_event("t1", event_push(12))
    checker.record_join(connect_reply("t1", 20))
    entries = [(seq, "offer.created", "user:t1") for seq in (12, 15, 21)]
    assert checker.lost_events(log_index_of(*entries), "main") == 1


def test_each_repeated_event_is_a_duplicate() -> None:
    """An event that is received three times counts as two duplicates."""
    checker = DeliveryChecker()
    checker.record_join(connect_reply("t1", 0))
    checker.record_event("t1", event_push(1))
    checker.record_duplicate("t1")
    checker.record_duplicate("t1")
    assert checker.duplicate_events() == 2


def test_an_event_for_another_user_is_unexpected() -> None:
    """An event that was received by a user to whom it was not addressed counts as unexpected."""
    checker = DeliveryChecker()
    checker.record_join(connect_reply("t1", 0))
    checker.record_event("t1", event_push(1))
    assert checker.unexpected_events(log_index_of((1, "offer.created", "user:t2")), "main") == 1


def test_two_holders_in_the_log_are_a_double_claim() -> None:
    """A second `job.accepted` of a job is a double claim, unless the job was unassigned in between."""
    log = LogIndex()
    add_job_event(log, 1, "t1")
    add_job_event(log, 2, "t1", kind="job.unassigned")
    add_job_event(log, 3, "t2")
    assert DeliveryChecker().double_claims(log) == 0
    add_job_event(log, 4, "t3")
    assert DeliveryChecker().double_claims(log) == 1


def test_a_winner_who_is_not_in_the_log_is_a_double_claim() -> None:
    """An acknowledged claim of a technician who never holds the job in the log is a double claim."""
    log, checker = LogIndex(), DeliveryChecker()
    add_job_event(log, 1, "t1")
    checker.record_winner("j", "t1")
    assert checker.double_claims(log) == 0
    checker.record_winner("j", "t2")
    assert checker.double_claims(log) == 1


def test_without_a_log_two_acknowledged_winners_are_a_double_claim() -> None:
    """Two acknowledged claims of one job are a double claim, even if the log cannot be read."""
    checker = DeliveryChecker()
    checker.record_booking({"id": "j"}, 1.0)
    checker.record_winner("j", "t1")
    assert checker.double_claims(None) == 0
    checker.record_winner("j", "t2")
    assert checker.double_claims(None) == 1


def test_a_job_is_undecided_until_its_customer_receives_the_outcome() -> None:
    """A job is undecided until its customer has received that it was claimed or expired. A job of another run is not
    counted."""
    checker = DeliveryChecker()
    for job in ("a", "b", "c"):
        checker.record_booking({"id": job}, 1.0)
    checker.record_holder("a", 2.0)
    checker.record_end("b", "expired")
    checker.record_end("another", "completed")
    assert [job for job, _ in checker.undecided()] == ["c"]
    assert [checker.count_jobs(what) for what in ("booked", "claimed", "expired", "completed")] == [3, 1, 1, 0]


def test_time_to_claim_runs_from_acknowledgement_to_holder() -> None:
    """The time to claim is measured from the reply to the booking to the event with the holder. If that event arrives
    before the reply, the time is 0 and not negative.
    """
    checker = DeliveryChecker()
    checker.record_booking({"id": "a"}, 10.0)
    checker.record_holder("a", 10.25)
    checker.record_holder("b", 9.0)
    checker.record_booking({"id": "b"}, 10.0)
    assert checker.time_to_claim_ms() == {"p50": 0.0, "p99": 250.0}


def test_dropping_finished_jobs_changes_no_count() -> None:
    """``drop_finished`` removes the finished jobs and received seqs of a long run from memory, and changes no count."""
    checker = DeliveryChecker(max_recent=10)
    checker.record_join(connect_reply("c", 0, role="customer"))
    checker.record_event("c", event_push(1))
    checker.record_booking({"id": "a"}, 1.0)
    checker.record_holder("a", 1.5)
    checker.record_end("a", "completed")
    checker.record_booking({"id": "b"}, 1.0)
    before = [checker.count_jobs(what) for what in ("booked", "claimed", "completed")]
    checker.drop_finished()
    assert list(checker.outcomes) == ["b"]
    assert [checker.count_jobs(what) for what in ("booked", "claimed", "completed")] == before == [2, 1, 1]
    assert checker.time_to_claim_ms()["p50"] == 500.0
    assert not checker.receipts["c"].received


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], {"p50": None, "p99": None}),
        ([7], {"p50": 7, "p99": 7}),
        (range(1, 101), {"p50": 50, "p99": 99}),
    ],
)
def test_percentiles_are_by_nearest_rank(values: Any, expected: dict[str, Any]) -> None:
    """A percentile is one of the measured values, without interpolation. Without values it is None."""
    assert percentiles(values) == expected
