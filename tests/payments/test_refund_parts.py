"""A refund is divided among the charges in the same way each time that it is requested again."""

from __future__ import annotations

from engine.payments.adapter import RefundPart
from engine.payments.refund_parts import PaymentFact, refund_parts


def captured(reference: str, amount: int, why: str = "") -> PaymentFact:
    """Return a captured charge."""
    return PaymentFact(f"pay_{reference}", "charge", "captured", amount, reference, why=why)


def refunded(reference: str, amount: int, of: str) -> PaymentFact:
    """Return a refund that the provider has reported."""
    return PaymentFact(f"pay_{reference}", "refund", "refunded", amount, reference, of)


def requested(name: str, amount: int) -> PaymentFact:
    """Return a refund that a step requested."""
    return PaymentFact(name, "refund", "requested", amount)


CHARGES = [captured("a", 500), captured("a", 500), captured("jpy", 900, "other_currency"), captured("b", 300)]
DIVISIONS: list[tuple[list[PaymentFact], list[RefundPart]]] = [
    ([], []),
    (CHARGES, [RefundPart("r", "a", 500), RefundPart("r.1", "b", 200)]),
    # A part that somebody refunded at the provider is not refunded again.
    ([*CHARGES, refunded("re_1", 400, "a")], [RefundPart("r", "a", 100), RefundPart("r.1", "b", 300)]),
    # The parts of an earlier request are subtracted, even if they are not refunded yet.
    ([*CHARGES, requested("q", 500)], [RefundPart("r", "b", 300)]),
    ([*CHARGES, requested("q", 500), refunded("q", 500, "a")], [RefundPart("r", "b", 300)]),
    ([*CHARGES, requested("q", 600), refunded("q.1", 100, "b")], [RefundPart("r", "b", 200)]),
]


def test_refunds_are_divided_among_the_charges() -> None:
    """The earliest charge comes first, and no charge pays back more than it captured."""
    for facts, expected in DIVISIONS:
        assert refund_parts(facts, "r", 700) == expected, facts
