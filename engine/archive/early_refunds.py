"""Refunds that a provider reports before the capture of their charge: webhooks arrive in any order.

Such refunds wait in SQL, so that none is lost when a process dies. When the capture is reported, they are recorded in
the job. The payment worker records refunds that were missed at that moment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, select, update

from engine.payments.adapter import Report
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.payment_tables import early_refunds
from engine.types import Zone

FIRST_RETRY_MS, MAX_RETRY_MS = 1_000, 300_000
MAX_UNNAMED_RETRY_MS = 86_400_000
"""The longest time between two attempts to find the job of a refund that names none. Its charge may have nothing to do
with Callout.
"""
KEPT_MS = 30 * 86_400_000
"""How long a refund waits. A charge that was not captured for this time will never be captured."""
MAX_DUE = 64

_columns = early_refunds.c


class EarlyRefund(NamedTuple):
    """A refund that waits. ``at`` is the time (ms) of its first report."""

    report: Report
    at: int


async def store(archive: Archive, zone: Zone, report: Report, now: int) -> None:
    """Store a refund, unless it is stored already. ``report.job`` is "" if the job is not known yet. Raises
    Unavailable, Indeterminate.
    """
    row = {
        "job": report.job,
        "reference": report.reference,
        "zone": zone,
        "charge": report.of or report.reference,
        "amount": report.amount,
        "currency": report.currency,
        "at": now,
        "due_at": now + FIRST_RETRY_MS,
    }
    async with archive.begin_write() as conn:
        await conn.execute(insert_into(archive, early_refunds).values(**row).on_conflict_do_nothing())


async def read_refunds_of_charge(archive: Archive, job: str, charge: str) -> list[EarlyRefund]:
    """Return the waiting refunds of a charge, including refunds that name no job. Raises Unavailable."""
    return await _read(archive, _columns.job.in_([job, ""]), _columns.charge == charge)


async def read_due_refunds(archive: Archive, zone: Zone, now: int) -> list[EarlyRefund]:
    """Return refunds of a zone that are due for another attempt. Raises Unavailable."""
    return await _read(archive, _columns.zone == zone, _columns.due_at <= now)


async def postpone(archive: Archive, refund: EarlyRefund, now: int) -> None:
    """Set the time of the next attempt: the longer the refund has waited, the later. Raises Unavailable."""
    longest_ms = MAX_RETRY_MS if refund.report.job else MAX_UNNAMED_RETRY_MS
    wait_ms = min(longest_ms, max(FIRST_RETRY_MS, (now - refund.at) // 2))
    async with archive.begin_write() as conn:
        await conn.execute(update(early_refunds).where(*_key_of(refund)).values(due_at=now + wait_ms))


async def remove(archive: Archive, refund: EarlyRefund) -> None:
    """Remove a refund that no longer has to wait. Raises Unavailable."""
    async with archive.begin_write() as conn:
        await conn.execute(delete(early_refunds).where(*_key_of(refund)))


def _key_of(refund: EarlyRefund) -> tuple[ColumnElement[bool], ...]:
    return (_columns.job == refund.report.job, _columns.reference == refund.report.reference)


async def _read(archive: Archive, *conditions: ColumnElement[bool]) -> list[EarlyRefund]:
    query = select(early_refunds).where(*conditions).order_by(_columns.due_at).limit(MAX_DUE)
    async with archive.begin_read() as conn:
        return [EarlyRefund(_report_of(row), row.at) for row in await conn.execute(query)]


def _report_of(row: Any) -> Report:
    return Report(
        reference=row.reference,
        status="refunded",
        amount=row.amount,
        currency=row.currency,
        job=row.job,
        of=row.charge,
    )
