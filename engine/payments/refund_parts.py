"""Divide a refund among the captured charges of a job. The result is a pure function of the events before the request.

After a crash the same request is divided again, and some of its parts may have been refunded meanwhile. The division
must be the same as the first one. Therefore only events before the request count, and the division of earlier requests
is repeated from them. A part that has failed can be refunded again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.payments.adapter import FAILED_SUFFIX, RefundPart


class PaymentFact(NamedTuple):
    """A payment in an event before the request. ``reference`` is "" if a step of the job requested the payment. ``why``
    is the member of ``payment.unexpected``.
    """

    id: str
    kind: str
    status: str
    amount: int
    reference: str = ""
    of: str = ""
    why: str = ""


def refund_parts(facts: Iterable[PaymentFact], order_id: str, amount: int, prefix: str = "") -> list[RefundPart]:
    """Return the parts of the refund ``order_id``, those of the earliest charge first. Their sum is less than
    ``amount`` (minor units) if less was captured. ``prefix`` is what the adapter puts before the references of its
    refunds.
    """
    left: dict[str, int] = {}
    planned: dict[str, RefundPart] = {}
    made: dict[str, RefundPart] = {}
    for fact in facts:
        if fact.status == "captured" and fact.why != "other_currency":
            left.setdefault(fact.reference, fact.amount)
        elif fact.status == "refunded" and fact.reference not in planned:
            part = made[fact.reference] = RefundPart(fact.reference, fact.of or fact.reference, fact.amount)
            left[part.charge] = left.get(part.charge, 0) - part.amount
        elif fact.status == "failed" and fact.kind == "refund":
            name = fact.reference.removesuffix(FAILED_SUFFIX)
            if lost := planned.pop(name, None) or made.pop(name, None):
                left[lost.charge] += lost.amount
        elif fact.kind == "refund" and not fact.reference:
            planned |= {prefix + part.reference: part for part in _take_parts(left, fact.id, fact.amount)}
    return _take_parts(left, order_id, amount)


def _take_parts(left: dict[str, int], order_id: str, amount: int) -> list[RefundPart]:
    """Return the parts of a refund, and subtract them from ``left``, the amount of each charge that is not refunded
    yet.
    """
    parts: list[RefundPart] = []
    for charge, rest in left.items():
        share = min(rest, amount)
        if share > 0:
            parts.append(RefundPart(f"{order_id}.{len(parts)}" if parts else order_id, charge, share))
            left[charge] = rest - share
            amount -= share
    return parts
