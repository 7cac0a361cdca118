"""Bids and payments in SQL: one row each, as the log told it last."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from engine.sql.database import Archive
from engine.sql.schema import bids, payments
from tests.archive.test_projection import JOB, event, job
from tests.archive.test_reader import keep

BID = {"id": "bid_1", "job": JOB, "technician": {"id": "t1"}, "amount": 700, "note": "by noon", "status": "open"}
PAYMENT = {"id": "pay_1", "kind": "charge", "status": "requested", "amount": 700, "currency": "EUR"}


async def rows(archive: Archive, table: Any) -> list[Any]:
    """Everything in a table."""
    async with archive.reading() as conn:
        return list(await conn.execute(select(table)))


async def test_what_is_told_later_changes_the_row(archive: Archive) -> None:
    """In another batch too; when it was made is when it was told first."""
    paid = job(2, "paid", "done", "t1")
    made = [event(1, "bid.created", {"bid": BID}), event(2, "payment.requested", {"payment": PAYMENT, "job": paid})]
    await keep(archive, made)
    captured = {**PAYMENT, "status": "captured", "reference": "stripe-1"}
    later = [
        event(3, "bid.closed", {"bid": {**BID, "status": "declined"}, "reason": "taken"}),
        event(4, "payment.received", {"payment": captured, "job": paid}),
    ]
    await keep(archive, later, before=2)
    (bid,) = await rows(archive, bids)
    assert (bid.id, bid.job, bid.technician, bid.zone, bid.amount) == ("bid_1", JOB, "t1", "main", 700)
    assert (bid.status, bid.created_at, bid.updated_at) == ("declined", 1_001, 1_003)
    assert '"by noon"' in bid.doc
    (payment,) = await rows(archive, payments)
    assert (payment.job, payment.id, payment.reference, payment.kind) == (JOB, "pay_1", "stripe-1", "charge")
    assert (payment.status, payment.created_at, payment.updated_at) == ("captured", 1_002, 1_004)
