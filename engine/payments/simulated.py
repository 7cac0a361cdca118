"""The adapter `test`: a provider that exists only in this process, for demonstrations and for tests of apps.

It authorizes, captures, refunds and releases immediately. Each of its references begins with ``test:``, and each
payment with such a reference has ``"test": true`` in every reply and event (engine/domain/job_restore.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from engine.payments.adapter import (
    PaymentOrder,
    PayoutOrder,
    ProviderRefused,
    RefundPart,
    Report,
    ReportStatus,
    WrongSignature,
)

TEST_PREFIX = "test:"


class SimulatedAdapter:
    """A simulated payment provider. Its answers are a pure function of the request."""

    is_test = True

    async def request(self, order: PaymentOrder) -> list[Report]:
        """Return the payment as authorized or captured. A charge captures the hold first, and then the rest. A hold of
        another provider is ignored: no money moves here, so that its capture must not be reported.
        """
        held = min(order.held, order.amount) if order.of.startswith(TEST_PREFIX) else 0
        reports = [_report(order, order.of, "captured", held)] if held else []
        if order.amount > held:
            status: ReportStatus = "authorized" if order.kind == "hold" else "captured"
            reports.append(_report(order, TEST_PREFIX + order.id, status, order.amount - held))
        return reports

    async def refund(self, order: PaymentOrder, parts: list[RefundPart]) -> list[Report]:
        """Return each part as refunded."""
        named = [(TEST_PREFIX + part.reference, part.charge, part.amount) for part in parts]
        return [_report(order, reference, "refunded", amount, of) for reference, of, amount in named]

    async def release(self, order: PaymentOrder) -> list[Report]:
        """Return the hold as released. Raises ProviderRefused for a hold of another provider, which still holds the
        money.
        """
        if not order.of.startswith(TEST_PREFIX):
            raise ProviderRefused("no_test_payment")
        return [_report(order, order.of, "released", order.amount)]

    async def payout(self, order: PayoutOrder) -> Literal["requested", "paid", "failed"]:
        """Return the payout as paid."""
        return "paid"

    def parse(self, headers: Mapping[bytes, bytes], body: bytes, now_s: float) -> list[Report]:
        """Refuse every webhook: only this process reports payments of `test`."""
        raise WrongSignature

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


def _report(
    order: PaymentOrder,
    reference: str,
    status: ReportStatus,
    amount: int,
    of: str | None = None,
) -> Report:
    return Report(reference=reference, status=status, amount=amount, currency=order.currency, job=order.job, of=of)
