"""Divide a refund among the captured charges of a job: a pure function of the log before the request.

A refund that was divided once must be divided in the same way when it is asked again after a crash, although some of
its parts may have been refunded meanwhile. Therefore only events before the request count, and former requests are
replayed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.payments.adapter import RefundPart


class PaymentFact(NamedTuple):
    """A payment in an event before the request. ``reference`` is "" if a step of the job requested the payment. ``why``
    is that of ``payment.unexpected``.
    """

    id: str
    kind: str
    status: str
    amount: int
    reference: str = ""
    of: str = ""
    why: str = ""


def refund_parts(facts: Iterable[PaymentFact], order_id: str, amount: int, prefix: str = "") -> list[RefundPart]:
    """Return the parts of the refund ``order_id``, the earliest charge first. They are less than ``amount`` (minor
    units) if less was captured. ``prefix`` is what the adapter puts before the references of its refunds.
    """
    left: dict[str, int] = {}
    planned: set[str] = set()
    for fact in facts:
        if fact.status == "captured" and fact.why != "other_currency":
            left.setdefault(fact.reference, fact.amount)
        elif fact.status == "refunded" and fact.reference not in planned:
            charge = fact.of or fact.reference
            left[charge] = left.get(charge, 0) - fact.amount
        elif fact.kind == "refund" and not fact.reference:
            planned |= {prefix + part.reference for part in _take(left, fact.id, fact.amount)}
    return _take(left, order_id, amount)


def _take(left: dict[str, int], order_id: str, amount: int) -> list[RefundPart]:
    """Return the parts of a refund, and take them from what is ``left`` of each charge."""
    parts: list[RefundPart] = []
    for charge, rest in left.items():
        share = min(rest, amount)
        if share > 0:
            parts.append(RefundPart(f"{order_id}.{len(parts)}" if parts else order_id, charge, share))
            left[charge] = rest - share
            amount -= share
    return parts
