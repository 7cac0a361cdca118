"""Fold the events about money into entries of the ledger and into changes of payouts.

``payment.received`` and ``payment.refunded`` are emitted once for each capture and refund. A capture in another
currency than the job's emits only ``payment.unexpected``. If a refund that was made fails later, ``payment.failed`` has
``reversed``. ``session.ledger`` contains what the technician earns (lua/lib/earnings.lua). The id of the payment or the
payout is the ``cause`` of an entry, so that an event that was appended twice is booked once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.events import Event, ms_of
from engine.rules import ledger
from engine.rules.event_payloads import EventPayment
from engine.rules.job_document import Party
from engine.rules.ledger import Entry, PayoutStatus

PAYOUT_TYPES = ("payout.requested", "payout.paid", "payout.failed")
PAYMENT_TYPES = ("payment.received", "payment.refunded", "payment.failed", "payment.unexpected")
LEDGER_TYPES = (*PAYMENT_TYPES, "session.ledger", *PAYOUT_TYPES)
OTHER_CURRENCY = "other_currency"


class EventPayout(msgspec.Struct, frozen=True):
    """The payout in the data of ``payout.*`` events."""

    id: str
    technician: str
    amount: int
    currency: str
    reference: str
    status: PayoutStatus
    at: str
    test: bool = False


@dataclass(slots=True)
class LedgerRows:
    """The entries of a batch, each with the seq of its event, and the payouts that the events report."""

    entries: list[tuple[int, Entry]] = field(default_factory=list)
    payouts: list[tuple[int, EventPayout]] = field(default_factory=list)


class _PaymentData(msgspec.Struct):
    job: Party
    payment: EventPayment
    why: str = ""
    reversed: bool = False


class _EarnedData(msgspec.Struct):
    job: Party
    technician: Party
    amount: int
    fee: int
    currency: str
    available_at: int


class _PayoutData(msgspec.Struct):
    payout: EventPayout


_payment_decoder = msgspec.json.Decoder(_PaymentData)
_earned_decoder = msgspec.json.Decoder(_EarnedData)
_payout_decoder = msgspec.json.Decoder(_PayoutData)


def fold_ledger_event(rows: LedgerRows, event: Event) -> None:
    """Fold one of ``LEDGER_TYPES`` into ``rows``. Raises msgspec.DecodeError or ValueError for data that no script
    writes.
    """
    entry: Entry | None
    if event.type in PAYOUT_TYPES:
        payout = _payout_decoder.decode(event.data).payout
        ms_of(payout.at)
        rows.payouts.append((event.seq, payout))
        entry = ledger.payout(payout.id, payout.technician, payout.status, payout.amount, payout.currency, at=event.at)
        entry = msgspec.structs.replace(entry, test=payout.test)
    elif event.type == "session.ledger":
        earned = _earned_decoder.decode(event.data)
        entry = ledger.earned(
            earned.job.id,
            earned.technician.id,
            earned.amount,
            earned.fee,
            earned.currency,
            at=event.at,
            available_at=earned.available_at,
            cause=f"earned {event.zone}:{event.seq}",
        )
    else:
        data = _payment_decoder.decode(event.data)
        entry = _entry_of_payment(event, data)
        entry = entry and msgspec.structs.replace(entry, test=data.payment.test)
    if entry is not None and entry.lines:
        rows.entries.append((event.seq, entry))


def _entry_of_payment(event: Event, data: _PaymentData) -> Entry | None:
    """Return the entry of a payment; None if another event of the same payment gives the entry."""
    payment, job = data.payment, data.job.id
    if event.type == "payment.refunded":
        return ledger.refunded(job, payment.id, payment.amount, payment.currency, event.at)
    if event.type == "payment.failed":
        booked = ledger.reversed_refund(job, payment.id, payment.amount, payment.currency, event.at)
        return booked if data.reversed else None
    if event.type == "payment.received" or data.why == OTHER_CURRENCY:
        return ledger.captured(job, payment.id, payment.amount, payment.currency, event.at)
    return None


def entry_rows(zone: str, rows: LedgerRows) -> list[dict[str, Any]]:
    """Return the rows of ``ledger_entries``."""
    return [
        {
            "zone": zone,
            "seq": seq,
            "kind": entry.kind,
            "cause": entry.cause,
            "at": entry.at,
            "job": entry.job,
            "payout": entry.payout,
            "test": entry.test,
        }
        for seq, entry in rows.entries
    ]


def line_rows(zone: str, rows: LedgerRows) -> list[dict[str, Any]]:
    """Return the rows of ``ledger_lines``."""
    return [
        {
            "zone": zone,
            "seq": seq,
            "kind": entry.kind,
            "n": n,
            "account": line.account,
            "currency": entry.currency,
            "amount": line.amount,
            "available_at": line.available_at,
        }
        for seq, entry in rows.entries
        for n, line in enumerate(entry.lines, 1)
    ]
