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

from engine.archive import early_refunds
from engine.clock import now_ms
from engine.domain import job_restore, payments
from engine.domain.payments import Payment
from engine.errors import Conflict, IllegalTransition, Invalid, NotFound, Refused
from engine.events import Event
from engine.payments.adapter import Report
from engine.payments.refund_parts import PaymentFact
from engine.rules.event_payloads import EventPayment
from engine.sql.schema import payments as payment_rows
from engine.types import DEFAULT_ZONE, Principal, UserId, Zone, zone_of

if TYPE_CHECKING:
    from engine.runtime import Engine

UNKNOWN_CHARGE = 3
"""The number by which a refused refund says that its charge is not captured yet (``Refund.OF`` in Lua)."""
PROVIDER = Principal(UserId("payments"), "service", "Payments")
"""The caller who records what a provider says."""

log = structlog.get_logger(__name__)


class _PaymentData(msgspec.Struct):
    payment: EventPayment
    why: str = ""


_data_decoder = msgspec.json.Decoder(_PaymentData)


async def record(engine: Engine, report: Report) -> Refused | None:
    """Record a report and return None. A refund whose charge is not captured yet is stored, and is recorded with the
    capture. Every other report that comes too late or too early, contradicts an earlier one or names no known job is
    logged and dropped: return the reason. After Unavailable and Indeterminate, the same report can be recorded again.
    """
    # A refund of an unknown charge is stored in any case, so that it does not wait for the archive.
    find = _read_job if report.status == "refunded" else _find_job
    report = msgspec.structs.replace(report, job=report.job or await find(engine, report))
    refusal = await _put(engine, report)
    if _is_before_capture(report, refusal):
        log.info("early_refund_waits", reference=report.reference, job=report.job)
        await early_refunds.store(engine.archive, zone_of(report.job) or DEFAULT_ZONE, report, now_ms())
        # the charge may have been captured meanwhile
        await _record_early_refunds(engine, report.job, report.of or report.reference)
        return None
    if refusal is not None:
        log.info("payment_report_dropped", reference=report.reference, status=report.status, code=refusal.code)
    elif report.status == "captured":
        await _record_early_refunds(engine, report.job, report.reference)
    return refusal


async def retry_early_refunds(engine: Engine, zone: Zone) -> None:
    """Try again to record the refunds of a zone that wait, and remove those that waited too long. The report of the
    capture records them; a process may have died before that, or a service may have reported the capture. Raises
    Unavailable and Indeterminate.
    """
    now = now_ms()
    for each in await early_refunds.read_due_refunds(engine.archive, zone, now):
        report = msgspec.structs.replace(each.report, job=each.report.job or await _read_job(engine, each.report))
        is_early = _is_before_capture(report, await _put(engine, report))
        if is_early and now - each.at < early_refunds.KEPT_MS:
            await early_refunds.postpone(engine.archive, each, now)
            continue
        if is_early:
            log.warning("early_refund_dropped", reference=each.report.reference, job=each.report.job)
        await early_refunds.remove(engine.archive, each)


async def _record_early_refunds(engine: Engine, job: str, charge: str) -> None:
    """Record the refunds of a charge that wait, now that it may be captured."""
    for each in await early_refunds.read_refunds_of_charge(engine.archive, job, charge) if job else ():
        report = msgspec.structs.replace(each.report, job=job)
        if not _is_before_capture(report, await _put(engine, report)):
            await early_refunds.remove(engine.archive, each)


async def _put(engine: Engine, report: Report) -> Refused | None:
    """Record a report about ``report.job``. Return why it is refused, or None."""
    word = Payment(
        reference=report.reference,
        status=report.status,
        amount=report.amount,
        currency=report.currency,
        of=report.of if report.status in payments.REFUND_STATUSES else None,
        reason=report.reason,
    )
    try:
        await payments.put_payment(engine, PROVIDER, report.job, word)
    except (Conflict, Invalid, NotFound) as error:
        return error
    return None


def _is_before_capture(report: Report, refusal: Refused | None) -> bool:
    """Return whether a refund was refused because its charge is not captured or not known yet. The provider's webhooks
    arrive in any order, so that the capture may follow.
    """
    if report.status != "refunded" or refusal is None:
        return False
    if isinstance(refusal, Invalid):
        return [error[0] for error in refusal.errors] == ["/of"]
    if isinstance(refusal, IllegalTransition):
        return [int(number) for number in refusal.reply[:1]] == [UNKNOWN_CHARGE]
    return isinstance(refusal, NotFound) and not report.job


async def _find_job(engine: Engine, report: Report) -> str:
    """Return the job of the payment in the report; "" if no job has it. Raises Unavailable if SQL does not get all
    present events of the log in time.
    """
    job = await _read_job(engine, report)
    if not job:  # another request may have stored the job in Redis meanwhile
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
