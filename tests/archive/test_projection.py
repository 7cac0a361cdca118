"""Tests of `fold_events`, which derives rows of SQL from a batch of events without a database."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.archive.projection import fold_events
from engine.events import Event, rfc3339_of
from engine.types import DEFAULT_ZONE

JOB_ID = "job_main_01hzzzzzzzzzzzzzzzzzzzzzzz"


def create_event(seq: int, kind: str, data: Any, *channels: str, actor: str = "customer:c1") -> Event:
    """Return an event as a script writes it; without `to` it goes to `user:c1`."""
    raw = data if isinstance(data, bytes) else msgspec.json.encode(data)
    return Event(DEFAULT_ZONE, seq, kind, channels or ("user:c1",), 1_000 + seq, actor, "home_service@1", raw)


def create_job_document(version: int, status: str, phase: str, technician: str | None = None) -> dict[str, Any]:
    """Return a whole job as events contain it."""
    return {
        "id": JOB_ID,
        "zone": "main",
        "blueprint": "home_service",
        "status": status,
        "phase": phase,
        "version": version,
        "customer": {"id": "c1", "name": "C"},
        "technician": {"id": technician, "name": "T", "rating": 4.5} if technician else None,
        "service": "s1",
        "reference": "ref-1",
        "metadata": {"id": "not the job's"},
        "created_at": rfc3339_of(1_001),
        "updated_at": rfc3339_of(1_000 + version),
    }


def create_offer(status: str = "sent", wave: int = 1) -> dict[str, Any]:
    """Return an offer as `offer.created` contains it."""
    return {
        "job": {"id": JOB_ID},
        "status": status,
        "wave": wave,
        "offered_at": rfc3339_of(2_000),
        "expires_at": rfc3339_of(62_000),
    }


def test_an_unreadable_event_is_archived_and_the_batch_continues() -> None:
    """Events with broken data, or data that is no object, are archived unchanged, and the events after them are
    projected.
    """
    batch = fold_events(
        [
            create_event(1, "job.created", b'{"job":{"version":'),
            create_event(2, "job.created", b"[]"),
            create_event(3, "notification", {"kind": "without id"}),
            create_event(4, "job.created", {"job": create_job_document(1, "broadcasted", "open")}),
        ]
    )
    assert [row["seq"] for row in batch.events] == [1, 2, 3, 4]
    assert list(batch.jobs) == [JOB_ID]
    assert batch.notifications == []


def test_the_public_part_does_not_change_a_job() -> None:
    """An event with only the public part of a job does not change the job's row and does not count as broken."""
    job = create_job_document(1, "broadcasted", "open")
    public = {name: value for name, value in job.items() if name not in ("customer", "reference", "metadata")}
    events = [
        create_event(1, "job.created", {"job": job}),
        create_event(2, "job.created", {"job": public}, "role:technician"),
    ]
    batch = fold_events(events)
    assert msgspec.json.decode(batch.jobs[JOB_ID]["doc"]) == job
    assert [row["job"] for row in batch.events] == [JOB_ID, JOB_ID]
    assert len(batch.references) == 1


def test_bids_and_payments_have_their_latest_state() -> None:
    """The rows of bids and payments have the state of their latest event, and a payment that changes the job's state
    updates the job's row.
    """
    bid = {"id": "bid_1", "job": JOB_ID, "technician": {"id": "t1"}, "amount": 700, "note": None, "status": "open"}
    charge = {"id": "pay_1", "kind": "charge", "status": "requested", "amount": 700, "currency": "EUR"}
    fields = {"reference": "stripe-1", "status": "captured", "amount": 700, "currency": "EUR"}
    confirmed = create_job_document(4, "awaiting_confirmation", "active", "t1")
    batch = fold_events(
        [
            create_event(1, "bid.created", {"bid": bid, "job": {"id": JOB_ID}}),
            create_event(2, "bid.accepted", {"bid": {**bid, "status": "accepted"}}),
            create_event(3, "payment.requested", {"job": confirmed, "payment": charge}),
            create_event(
                4, "payment.received", {"job": create_job_document(5, "paid", "done", "t1"), "payment": fields}
            ),
        ]
    )
    ((name, row),) = batch.bids.items()
    assert (name, row["job"], row["technician"], row["status"]) == ("bid_1", JOB_ID, "t1", "accepted")
    assert (row["amount"], row["created_at"], row["updated_at"]) == (700, 1_001, 1_002)
    payments = {name: (p["kind"], p["status"], p["reference"]) for (_, name), p in batch.payments.items()}
    assert payments == {"pay_1": ("charge", "requested", None), "stripe-1": (None, "captured", "stripe-1")}
    assert (batch.jobs[JOB_ID]["status"], batch.finished) == ("paid", [JOB_ID])
    assert [event["job"] for event in batch.events] == [JOB_ID] * 4


def test_a_bid_accepts_the_offer() -> None:
    """A bid sets the technician's archived offer to `accepted`, and creates no offer for a technician who had none."""
    bid = {"id": "bid_1", "job": JOB_ID, "technician": {"id": "t1"}, "amount": None, "note": None, "status": "open"}
    batch = fold_events([create_event(1, "bid.created", {"bid": bid, "job": {"id": JOB_ID}})])
    assert batch.offers.rows == {} and batch.offers.answers[JOB_ID, "t1"][0] == "accepted"


def test_an_event_that_only_names_a_job_does_not_change_it() -> None:
    """`job.searching`, which contains only the job's id, is linked to the job and does not change its row."""
    batch = fold_events([create_event(1, "job.searching", {"job": {"id": JOB_ID}, "wave": 2})])
    assert batch.jobs == {}
    assert batch.events[0]["job"] == JOB_ID


def test_a_job_has_the_state_of_its_last_event() -> None:
    """Of several changes in a batch the last one is the job's row, and `finished` lists the jobs that
    are over by then.
    """
    events = [
        create_event(1, "job.created", {"job": create_job_document(1, "broadcasted", "open"), "changed": []}),
        create_event(
            2, "job.accepted", {"job": create_job_document(2, "accepted", "assigned", "t1"), "technician": {"id": "t1"}}
        ),
        create_event(
            3,
            "job.status",
            {"job": create_job_document(6, "completed", "done", "t1"), "from": "in_progress", "to": "completed"},
        ),
    ]
    early, late = fold_events(events[:2]), fold_events(events)
    assert (early.jobs[JOB_ID]["technician"], early.finished) == ("t1", [])
    assert (late.jobs[JOB_ID]["status"], late.jobs[JOB_ID]["version"], late.finished) == ("completed", 6, [JOB_ID])
    assert msgspec.json.decode(late.jobs[JOB_ID]["doc"])["metadata"] == {"id": "not the job's"}
    assert late.references == [{"principal": "c1", "reference": "ref-1", "job": JOB_ID}]


def test_offers_have_the_status_of_their_answer() -> None:
    """Offers that were accepted, declined and lost to another technician have the status `accepted`, `rejected` and
    `expired`.
    """
    batch = fold_events(
        [
            create_event(1, "offer.created", {"offer": create_offer()}, "user:t1", "user:t2", "user:t3"),
            create_event(
                2, "offer.declined", {"job": {"id": JOB_ID}, "technician": {"id": "t2"}, "reason": "far"}, "role:ops"
            ),
            create_event(
                3,
                "job.accepted",
                {"job": create_job_document(2, "accepted", "assigned", "t1"), "technician": {"id": "t1"}},
            ),
            create_event(4, "offer.closed", {"job": {"id": JOB_ID}, "reason": "taken"}, "user:t3"),
        ]
    )
    offers = {t: (row["status"], row["reason"]) for (_, t), row in batch.offers.rows.items()}
    assert offers == {"t1": ("accepted", None), "t2": ("rejected", "far"), "t3": ("expired", "taken")}
    assert batch.offers.answers == {}


def test_unassignment_expires_the_accepted_offer() -> None:
    """`job.unassigned` sets the former holder's accepted offer to `expired` with the reason `left`."""
    unassignment = {
        "job": create_job_document(3, "broadcasted", "open"),
        "former": {"id": "t1"},
        "from": "accepted",
        "to": "broadcasted",
    }
    batch = fold_events(
        [
            create_event(1, "offer.created", {"offer": create_offer()}, "user:t1"),
            create_event(
                2,
                "job.accepted",
                {"job": create_job_document(2, "accepted", "assigned", "t1"), "technician": {"id": "t1"}},
            ),
            create_event(3, "job.unassigned", unassignment, "user:c1", "user:t1"),
        ]
    )
    assert (batch.offers.rows[JOB_ID, "t1"]["status"], batch.offers.rows[JOB_ID, "t1"]["reason"]) == ("expired", "left")
    assert batch.jobs[JOB_ID]["technician"] is None


def test_an_answer_changes_an_offer_of_an_earlier_batch() -> None:
    """An answer without an offer in the batch changes the offer of an earlier batch; if a new offer follows in the
    batch, only the new offer counts.
    """
    closure = create_event(5, "offer.closed", {"job": {"id": JOB_ID}, "reason": "expired"}, "user:t1")
    again = create_event(6, "offer.created", {"offer": create_offer(wave=2)}, "user:t1")
    assert fold_events([closure]).offers.answers[JOB_ID, "t1"][0] == "expired"
    both = fold_events([closure, again])
    assert (both.offers.answers, both.offers.rows[(JOB_ID, "t1")]["status"]) == ({}, "sent")


def test_a_notification_becomes_a_row_of_its_user() -> None:
    """A `notification` event becomes a row for the user to whom it is addressed, with the event's data and time."""
    notification = {"id": "ntf_1", "kind": "job.accepted", "title": "Accepted", "body": "…", "job": JOB_ID}
    batch = fold_events([create_event(9, "notification", notification, "user:c1")])
    assert batch.notifications == [{**notification, "room": None, "user": "c1", "at": 1_009, "seq": 9}]
    assert batch.events[0]["job"] == JOB_ID


def test_a_channel_named_twice_is_stored_once() -> None:
    """A channel that an event names twice is stored once."""
    batch = fold_events([create_event(1, "announcement.x", {}, "role:ops", "role:ops", "user:c1")])
    assert [channel for _, channel, _ in batch.channels] == ["role:ops", "user:c1"]
