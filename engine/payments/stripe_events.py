"""Translate Stripe's objects and events into reports. An object of an unexpected form gives no report, because Stripe
adds types and members at any time.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from engine.payments.adapter import Report, ReportStatus, reason_of
from engine.payments.stripe_amounts import minor_amount
from engine.rules.currencies import Currency

JOB_KEY, REFERENCE_KEY = "callout_job", "callout_reference"
"""The metadata by which Stripe's objects name the job, and the reference of a refund."""
MAX_REFERENCE_LENGTH, MAX_AMOUNT = 128, 10**12


class Intent(msgspec.Struct, frozen=True):
    """A PaymentIntent. All amounts are in Stripe's units (stripe_amounts.py)."""

    id: str
    status: str
    amount: int
    currency: str
    amount_received: int = 0
    amount_capturable: int = 0
    metadata: dict[str, str] | None = None
    last_payment_error: dict[str, Any] | None = None


class Refund(msgspec.Struct, frozen=True):
    """A Refund of the PaymentIntent ``payment_intent``."""

    id: str
    status: str
    amount: int
    currency: str
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None
    failure_reason: str | None = None


class _EventData(msgspec.Struct):
    object: msgspec.Raw


class _Event(msgspec.Struct):
    type: str
    data: _EventData


INTENT_EVENTS = frozenset(
    f"payment_intent.{name}" for name in ("amount_capturable_updated", "succeeded", "canceled", "payment_failed")
)
REFUND_EVENTS = frozenset({"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"})


def intent_report(intent: Intent, *, failed: bool = False) -> Report | None:
    """Return the report of a PaymentIntent; None if its status needs no report. ``failed``: an attempt to pay it has
    failed.
    """
    status: ReportStatus = "requested"
    amount, reason = intent.amount, ""
    if intent.status == "succeeded":
        status, amount = "captured", intent.amount_received
    elif intent.status == "requires_capture":
        status, amount = "authorized", intent.amount_capturable
    elif intent.status == "canceled":
        status = "released"
    elif failed:
        status, reason = "failed", reason_of((intent.last_payment_error or {}).get("code"))
    return _checked(
        Report(
            reference=intent.id,
            status=status,
            amount=minor_amount(amount, intent.currency.upper()),
            currency=intent.currency.upper(),
            job=(intent.metadata or {}).get(JOB_KEY, ""),
            reason=reason,
        )
    )


def refund_report(refund: Refund) -> Report | None:
    """Return the report of a Refund; None while it is pending. A refund that succeeded may fail later, at the bank."""
    if refund.status not in ("succeeded", "failed", "canceled") or not refund.payment_intent:
        return None
    metadata = refund.metadata or {}
    reference = metadata.get(REFERENCE_KEY, refund.id)
    is_done = refund.status == "succeeded"
    return _checked(
        Report(
            reference=reference,
            status="refunded" if is_done else "failed",
            amount=minor_amount(refund.amount, refund.currency.upper()),
            currency=refund.currency.upper(),
            job=metadata.get(JOB_KEY, ""),
            of=refund.payment_intent,
            reason="" if is_done else reason_of(refund.failure_reason or refund.status),
        )
    )


def event_reports(body: bytes) -> list[Report]:
    """Return the reports of a webhook's event; an empty list for other types and for objects of an unexpected form."""
    try:
        event = msgspec.json.decode(body, type=_Event)
        if event.type in INTENT_EVENTS:
            intent = msgspec.json.decode(event.data.object, type=Intent)
            report = intent_report(intent, failed=event.type == "payment_intent.payment_failed")
        elif event.type in REFUND_EVENTS:
            report = refund_report(msgspec.json.decode(event.data.object, type=Refund))
        else:
            return []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [report] if report and report.status != "requested" else []


def _checked(report: Report) -> Report | None:
    """Return the report if its values are possible for a payment, else None."""
    is_currency = report.currency in get_args(Currency)
    names = (report.reference, report.of or report.reference)
    is_named = all(0 < len(name) <= MAX_REFERENCE_LENGTH and name.isprintable() for name in names)
    return report if is_currency and is_named and 0 < report.amount <= MAX_AMOUNT else None
