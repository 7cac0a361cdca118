"""Fold the events of a job's payments into the records that lua/lib/payment.lua stores, for a job that is restored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from engine.events import Event
from engine.payments.simulated import TEST_PREFIX
from engine.rules.event_payloads import EventPayment

PAYMENT_EVENTS = (
    *("payment.requested", "payment.authorized", "payment.released", "payment.received", "payment.refunded"),
    *("payment.failed", "payment.unexpected", "payment.partial"),
)


class _PaymentData(msgspec.Struct):
    """The members of a payment event's data from which the payment's record is made."""

    payment: EventPayment | None = None
    why: str = ""


class _PaymentRecord(msgspec.Struct):
    """A payment as lua/lib/payment.lua stores it. ``statuses`` maps each status of the payment, in order, to
    ``<seq>:<amount>:<currency>`` of its event. ``back`` is the refunded amount of a charge; of a refund, how much of it
    a step had requested back. ``is_counted`` is true if the job's sums include the payment."""

    kind: str
    reference: str
    of: str
    id: str
    created_at: str
    statuses: dict[str, str] = msgspec.field(default_factory=dict)
    back: int = 0
    is_counted: bool = True

    def record_text(self) -> str:
        path = ",".join(f"{status}:{rest}" for status, rest in self.statuses.items())
        fixed = encode_fixed_members(self.kind, self.reference, self.of).decode()
        return f'{path} {self.id} "{self.created_at}" {self.back} {fixed}'


_payment_data_decoder = msgspec.json.Decoder(_PaymentData)


def encode_fixed_members(payment_kind: str, reference: str, charge_reference: str) -> bytes:
    """Return the members of a payment that never change, as JSON without its braces."""
    named = {
        "kind": payment_kind,
        **({"test": True} if reference.startswith(TEST_PREFIX) else {}),
        "reference": reference,
        **({"of": charge_reference} if payment_kind == "refund" else {}),
    }
    return msgspec.json.encode(named)[1:-1]


class PaymentFold:
    """The payments of a job as its events report them, and the sums that follow. This is what lua/payment_put.lua does
    with the reports, and lua/lib/effects.lua with the refunds that a step requests.
    """

    def __init__(self) -> None:
        self._payments: dict[tuple[str, str], _PaymentRecord] = {}
        self.asked_back = 0
        """The amount that steps requested back and that is not refunded yet, in the job's currency."""

    def hash_fields(self) -> dict[str, str]:
        """Return the fields of the hash, the earliest payment first. Each status of a payment has the seq of the first
        event with it.
        """
        return {f"{each.kind} {each.reference}": each.record_text() for each in self._payments.values()}

    def add(self, events: Iterable[Event]) -> None:
        """Fold ``events`` of types in ``PAYMENT_EVENTS``, in their order."""
        for event in events:
            data = _payment_data_decoder.decode(event.data)
            if data.payment is not None and data.payment.reference is None:  # a step of the job requested this payment
                self.asked_back += data.payment.amount if data.payment.kind == "refund" else 0
            elif data.payment is not None:
                self._add_report(event, data.payment, data.why)

    def _add_report(self, event: Event, reported: EventPayment, why: str) -> None:
        reference = reported.reference or ""
        kind, of = "charge", reference
        if reported.kind == "refund":
            kind, of = "refund", reported.of or reference
        new = _PaymentRecord(kind, reference, of, reported.id, reported.created_at)
        payment = self._payments.setdefault((kind, reference), new)
        if reported.status in payment.statuses:  # a payment that is captured may have several events with this status
            return
        if why == "other_currency":
            payment.is_counted = False
        if kind == "refund":
            self._add_refund(payment, reported)
        mark = "" if payment.is_counted else ":-"
        payment.statuses[reported.status] = f"{event.seq}:{reported.amount}:{reported.currency}{mark}"

    def _add_refund(self, refund: _PaymentRecord, reported: EventPayment) -> None:
        charge = self._payments.get(("charge", refund.of))
        refund.is_counted = charge is not None and "captured" in charge.statuses and charge.is_counted
        if reported.status == "refunded" and charge:
            charge.back += reported.amount
            refund.back = min(self.asked_back, reported.amount) if refund.is_counted else 0
            self.asked_back -= refund.back
        elif "refunded" in refund.statuses and charge:  # the refund was made and has failed later
            charge.back -= reported.amount
            self.asked_back += refund.back
            refund.back = 0

    def sum_of(self, status: Literal["captured", "refunded"]) -> int:
        """Return the sum of the amounts with a status that count for the job: minor units of its currency."""
        counted = (each for each in self._payments.values() if each.is_counted and status in each.statuses)
        made = (each for each in counted if each.kind == "charge" or "failed" not in each.statuses)
        return sum(int(each.statuses[status].split(":")[1]) for each in made)
