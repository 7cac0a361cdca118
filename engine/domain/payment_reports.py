"""Record what a payment provider says, as the payment service would.

A report is recorded by the script of all payments, once for each reference and status: a webhook that comes ten times,
late or in another order has one effect. Therefore no id of a provider's event is stored. (Rejected: a table of event
ids. The record in Redis and the row in SQL would be two commits; a process that dies between them would either lose
the event or record it again, and needs the idempotency of references all the same.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog
from sqlalchemy import select

from engine.domain import job_restore, payments
from engine.domain.payments import Payment
from engine.errors import Conflict, IllegalTransition, Invalid, NotFound, Refused
from engine.events import Event
from engine.payments.adapter import Report
from engine.payments.refund_parts import PaymentFact
from engine.rules.event_payloads import EventPayment
from engine.sql.schema import payments as payment_rows
from engine.types import Principal, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

PROVIDER = Principal(UserId("payments"), "service", "Payments")
"""The caller who records what a provider says."""

log = structlog.get_logger(__name__)


class _PaymentData(msgspec.Struct):
    payment: EventPayment
    why: str = ""


_data_decoder = msgspec.json.Decoder(_PaymentData)


async def record(engine: Engine, report: Report) -> Refused | None:
    """Record a report. A report that comes too late or too early, contradicts an earlier one or is about no known job
    is logged and dropped: return why, or None if it is recorded. Raises Unavailable and Indeterminate: then the same
    report can be recorded again.
    """
    job = report.job or await _find_job(engine, report)
    word = Payment(
        reference=report.reference,
        status=report.status,
        amount=report.amount,
        currency=report.currency,
        of=report.of if report.status == "refunded" else None,
        reason=report.reason,
    )
    try:
        await payments.put_payment(engine, PROVIDER, job, word)
    except (Conflict, Invalid, NotFound) as error:
        log.info("payment_report_dropped", reference=report.reference, status=report.status, code=error.code)
        return error
    return None


def is_before_capture(report: Report, refusal: Refused | None) -> bool:
    """Return whether a refund was refused because its charge is not captured yet, or not known yet: the provider's
    words come in any order, and the capture is on its way.
    """
    if report.status != "refunded":
        return False
    is_unknown = isinstance(refusal, Invalid) and [error[0] for error in refusal.errors] == ["/of"]
    return is_unknown or isinstance(refusal, IllegalTransition)


async def _find_job(engine: Engine, report: Report) -> str:
    """Return the job of the payment that the report is about; "" if no job has it. Raises Unavailable if SQL does not
    have all events of now in time.
    """
    job = await _read_job(engine, report)
    if not job:  # Redis may have it since a moment
        for zone in engine.store.zones:
            await job_restore.wait_for_archive(engine, zone)
        job = await _read_job(engine, report)
    return job


async def _read_job(engine: Engine, report: Report) -> str:
    references = [reference for reference in (report.of, report.reference) if reference]
    query = select(payment_rows.c.job).where(payment_rows.c.reference.in_(references)).limit(1)
    async with engine.archive.begin_read() as conn:
        return (await conn.execute(query)).scalar_one_or_none() or ""


def fact_of(event: Event) -> PaymentFact:
    """Return the payment of an event, as ``refund_parts`` needs it."""
    data = _data_decoder.decode(event.data)
    payment = data.payment
    return PaymentFact(
        payment.id,
        payment.kind or "",
        payment.status,
        payment.amount,
        payment.reference or "",
        payment.of or "",
        data.why,
    )
