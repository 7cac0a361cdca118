"""What events leave behind: pure, event by event."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.archive.projection import fold_events
from engine.events import Event, rfc3339_of
from engine.types import DEFAULT_ZONE

JOB = "job_main_01hzzzzzzzzzzzzzzzzzzzzzzz"


def event(seq: int, kind: str, data: Any, *to: str, actor: str = "customer:c1") -> Event:
    """An event as a script would have written it."""
    raw = data if isinstance(data, bytes) else msgspec.json.encode(data)
    return Event(DEFAULT_ZONE, seq, kind, to or ("user:c1",), 1_000 + seq, actor, "home_service@1", raw)


def job(version: int, status: str, phase: str, technician: str | None = None) -> dict[str, Any]:
    """A whole job as events carry it."""
    return {
        "id": JOB,
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


def offer(status: str = "sent", wave: int = 1) -> dict[str, Any]:
    return {
        "job": {"id": JOB},
        "status": status,
        "wave": wave,
        "offered_at": rfc3339_of(2_000),
        "expires_at": rfc3339_of(62_000),
    }


def test_an_event_that_cannot_be_read_is_kept_and_stops_nothing() -> None:
    """Bad data, and data that is no object, are archived as they are; what follows is projected."""
    batch = fold_events(
        [
            event(1, "job.created", b'{"job":{"version":'),
            event(2, "job.created", b"[]"),
            event(3, "notification", {"kind": "without id"}),
            event(4, "job.created", {"job": job(1, "broadcasted", "open")}),
        ]
    )
    assert [row["seq"] for row in batch.events] == [1, 2, 3, 4]
    assert list(batch.jobs) == [JOB]
    assert batch.notifications == []


def test_the_public_part_does_not_change_a_job() -> None:
    """What technicians at large are told of a job is no whole one: it neither changes it nor is taken for broken."""
    whole = job(1, "broadcasted", "open")
    public = {name: value for name, value in whole.items() if name not in ("customer", "reference", "metadata")}
    events = [event(1, "job.created", {"job": whole}), event(2, "job.created", {"job": public}, "role:technician")]
    batch = fold_events(events)
    assert msgspec.json.decode(batch.jobs[JOB]["doc"]) == whole
    assert [row["job"] for row in batch.events] == [JOB, JOB]
    assert len(batch.references) == 1


def test_bids_and_payments_are_as_they_were_told_last() -> None:
    """Made, and what became of them; a job moves by a payment, too."""
    bid = {"id": "bid_1", "job": JOB, "technician": {"id": "t1"}, "amount": 700, "note": None, "status": "open"}
    charge = {"id": "pay_1", "kind": "charge", "status": "requested", "amount": 700, "currency": "EUR"}
    done = {"reference": "stripe-1", "status": "captured", "amount": 700, "currency": "EUR"}
    confirmed = job(4, "awaiting_confirmation", "active", "t1")
    batch = fold_events(
        [
            event(1, "bid.created", {"bid": bid, "job": {"id": JOB}}),
            event(2, "bid.accepted", {"bid": {**bid, "status": "accepted"}}),
            event(3, "payment.requested", {"job": confirmed, "payment": charge}),
            event(4, "payment.received", {"job": job(5, "paid", "done", "t1"), "payment": done}),
        ]
    )
    ((name, row),) = batch.bids.items()
    assert (name, row["job"], row["technician"], row["status"]) == ("bid_1", JOB, "t1", "accepted")
    assert (row["amount"], row["created_at"], row["updated_at"]) == (700, 1_001, 1_002)
    found = {name: (p["kind"], p["status"], p["reference"]) for (_, name), p in batch.payments.items()}
    assert found == {"pay_1": ("charge", "requested", None), "stripe-1": (None, "captured", "stripe-1")}
    assert (batch.jobs[JOB]["status"], batch.finished) == ("paid", [JOB])
    assert [event["job"] for event in batch.events] == [JOB] * 4


def test_a_bid_answers_the_invitation() -> None:
    """Who was invited and bids has answered his offer; who was not has none."""
    bid = {"id": "bid_1", "job": JOB, "technician": {"id": "t1"}, "amount": None, "note": None, "status": "open"}
    batch = fold_events([event(1, "bid.created", {"bid": bid, "job": {"id": JOB}})])
    assert batch.offers == {} and batch.answers[JOB, "t1"]["status"] == "accepted"


def test_an_event_that_only_names_a_job_does_not_change_it() -> None:
    """``job.searching`` is about the job, and leaves it as it was."""
    batch = fold_events([event(1, "job.searching", {"job": {"id": JOB}, "wave": 2})])
    assert batch.jobs == {}
    assert batch.events[0]["job"] == JOB


def test_a_job_is_as_its_last_event_told_it() -> None:
    """Of several changes in a batch the last one is the job; finished is what is over by then."""
    events = [
        event(1, "job.created", {"job": job(1, "broadcasted", "open"), "changed": []}),
        event(2, "job.accepted", {"job": job(2, "accepted", "assigned", "t1"), "technician": {"id": "t1"}}),
        event(3, "job.status", {"job": job(6, "completed", "done", "t1"), "from": "in_progress", "to": "completed"}),
    ]
    early, late = fold_events(events[:2]), fold_events(events)
    assert (early.jobs[JOB]["technician"], early.finished) == ("t1", [])
    assert (late.jobs[JOB]["status"], late.jobs[JOB]["version"], late.finished) == ("completed", 6, [JOB])
    assert msgspec.json.decode(late.jobs[JOB]["doc"])["metadata"] == {"id": "not the job's"}
    assert late.references == [{"principal": "c1", "reference": "ref-1", "job": JOB}]


def test_offers_follow_their_answers() -> None:
    """Asked, declined, lost and won: each technician's offer ends as it was answered."""
    batch = fold_events(
        [
            event(1, "offer.created", {"offer": offer()}, "user:t1", "user:t2", "user:t3"),
            event(2, "offer.declined", {"job": {"id": JOB}, "technician": {"id": "t2"}, "reason": "far"}, "role:ops"),
            event(3, "job.accepted", {"job": job(2, "accepted", "assigned", "t1"), "technician": {"id": "t1"}}),
            event(4, "offer.closed", {"job": {"id": JOB}, "reason": "taken"}, "user:t3"),
        ]
    )
    found = {t: (row["status"], row["reason"]) for (_, t), row in batch.offers.items()}
    assert found == {"t1": ("accepted", None), "t2": ("rejected", "far"), "t3": ("expired", "taken")}
    assert batch.answers == {}


def test_who_leaves_gives_his_offer_back() -> None:
    """He had accepted; the event that takes the job from him says so, for what is read back later."""
    left = {"job": job(3, "broadcasted", "open"), "former": {"id": "t1"}, "from": "accepted", "to": "broadcasted"}
    batch = fold_events(
        [
            event(1, "offer.created", {"offer": offer()}, "user:t1"),
            event(2, "job.accepted", {"job": job(2, "accepted", "assigned", "t1"), "technician": {"id": "t1"}}),
            event(3, "job.unassigned", left, "user:c1", "user:t1"),
        ]
    )
    assert (batch.offers[JOB, "t1"]["status"], batch.offers[JOB, "t1"]["reason"]) == ("expired", "left")
    assert batch.jobs[JOB]["technician"] is None


def test_an_answer_to_an_older_offer_changes_that_one() -> None:
    """The offer may have been archived in an earlier batch; offered again, only the new offer counts."""
    closed = event(5, "offer.closed", {"job": {"id": JOB}, "reason": "expired"}, "user:t1")
    again = event(6, "offer.created", {"offer": offer(wave=2)}, "user:t1")
    assert fold_events([closed]).answers[(JOB, "t1")]["status"] == "expired"
    both = fold_events([closed, again])
    assert (both.answers, both.offers[(JOB, "t1")]["status"]) == ({}, "sent")


def test_a_notification_is_kept_for_each_it_is_for() -> None:
    """Data and time of the event, under the user it was addressed to."""
    told = {"id": "ntf_1", "kind": "job.accepted", "title": "Accepted", "body": "…", "job": JOB}
    batch = fold_events([event(9, "notification", told, "user:c1")])
    assert batch.notifications == [{**told, "user": "c1", "at": 1_009}]
    assert batch.events[0]["job"] == JOB


def test_a_channel_named_twice_is_kept_once() -> None:
    """An event reaches a channel once, however often it is named."""
    batch = fold_events([event(1, "announcement.x", {}, "role:ops", "role:ops", "user:c1")])
    assert [row["channel"] for row in batch.channels] == ["role:ops", "user:c1"]
