"""Tests of bids and payments in SQL: one row for each, with its latest state."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from engine.sql.database import Archive
from engine.sql.schema import bids, payments
from tests.archive.test_projection import JOB_ID, create_event, create_job_document
from tests.archive.test_reader import archive_events

BID = {"id": "bid_1", "job": JOB_ID, "technician": {"id": "t1"}, "amount": 700, "note": "by noon", "status": "open"}
PAYMENT = {"id": "pay_1", "kind": "charge", "status": "requested", "amount": 700, "currency": "EUR"}


async def read_rows(archive: Archive, table: Any) -> list[Any]:
    """Return all rows of a table."""
    async with archive.begin_read() as conn:
        return list(await conn.execute(select(table)))


async def test_a_later_event_updates_the_row(archive: Archive) -> None:
    """A later event updates the row of a bid or a payment, also in another batch; `created_at` stays the time of the
    first event.
    """
    paid_job = create_job_document(2, "paid", "done", "t1")
    created_events = [
        create_event(1, "bid.created", {"bid": BID}),
        create_event(2, "payment.requested", {"payment": PAYMENT, "job": paid_job}),
    ]
    await archive_events(archive, created_events)
    captured = {**PAYMENT, "status": "captured", "reference": "stripe-1"}
    later = [
        create_event(3, "bid.closed", {"bid": {**BID, "status": "declined"}, "reason": "taken"}),
        create_event(4, "payment.received", {"payment": captured, "job": paid_job}),
    ]
    await archive_events(archive, later, before=2)
    (bid,) = await read_rows(archive, bids)
    assert (bid.id, bid.job, bid.technician, bid.zone, bid.amount) == ("bid_1", JOB_ID, "t1", "main", 700)
    assert (bid.status, bid.created_at, bid.updated_at) == ("declined", 1_001, 1_003)
    assert '"by noon"' in bid.doc
    (payment,) = await read_rows(archive, payments)
    assert (payment.job, payment.id, payment.reference, payment.kind) == (JOB_ID, "pay_1", "stripe-1", "charge")
    assert (payment.status, payment.created_at, payment.updated_at) == ("captured", 1_002, 1_004)
