"""Record the reports of a payment provider in the same way as those of a payment service.

The script that records payments records each reference and status once. A webhook that arrives ten times, late or in
another order therefore has one effect, and no id of a provider's event is stored. (Rejected: a table of event ids. The
record in Redis and the row in SQL would be two commits. A process that dies between them would either lose the event or
record it again, and would still need the idempotency of references.)
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
    """Record a report and return None. A report that comes too late or too early, contradicts an earlier one or names
    no known job is logged and dropped: return the reason. After Unavailable and Indeterminate, the same report can be
    recorded again.
    """
    job = report.job or await _find_job(engine, report)
    word = Payment(
        reference=report.reference,
        status=report.status,
        amount=report.amount,
        currency=report.currency,
        of=report.of if report.status in payments.REFUND_STATUSES else None,
        reason=report.reason,
    )
    try:
        await payments.put_payment(engine, PROVIDER, job, word)
    except (Conflict, Invalid, NotFound) as error:
        log.info("payment_report_dropped", reference=report.reference, status=report.status, code=error.code)
        return error
    return None


def is_before_capture(report: Report, refusal: Refused | None) -> bool:
    """Return whether a refund was refused because its charge is not captured or not known yet. The provider's webhooks
    arrive in any order, so that the capture may follow.
    """
    if report.status != "refunded":
        return False
    is_unknown = isinstance(refusal, Invalid) and [error[0] for error in refusal.errors] == ["/of"]
    return is_unknown or isinstance(refusal, IllegalTransition)


async def _find_job(engine: Engine, report: Report) -> str:
    """Return the job of the payment in the report; "" if no job has it. Raises Unavailable if SQL does not get all
    present events of the log in time.
    """
    job = await _read_job(engine, report)
    if not job:  # another request may have stored it in Redis meanwhile
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
    """Return the payment of an event, in the form that ``refund_parts`` needs."""
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
