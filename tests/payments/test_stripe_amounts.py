"""Amounts in the currencies of which Stripe counts other units than ISO 4217."""

from __future__ import annotations

import msgspec
import pytest

from engine.payments.adapter import PaymentOrder, RefundPart
from engine.payments.stripe import StripeAdapter
from engine.payments.stripe_events import event_reports
from engine.types import JobId
from tests.payments.stripe_server import KEY, WEBHOOK_SECRET, run_stripe


@pytest.mark.parametrize(("currency", "units"), [("ISK", 100), ("UGX", 100), ("JPY", 1), ("EUR", 1)])
async def test_stripe_gets_and_reports_the_agreed_amount(currency: str, units: int) -> None:
    """Holds, captures, what the hold does not cover, refunds and their webhooks are of the amount that Callout asks
    for, in Stripe's units at Stripe and in minor units here.
    """
    hold = PaymentOrder(id="pay_1", job=JobId("job_main_1"), kind="hold", amount=5000, currency=currency)
    async with run_stripe() as stripe:
        adapter = StripeAdapter(stripe.url, KEY, WEBHOOK_SECRET)
        [asked] = await adapter.request(hold)
        stripe.confirm(asked.reference)
        charge = msgspec.structs.replace(
            hold, id="pay_2", kind="charge", amount=7000, of=asked.reference, held=hold.amount
        )
        captured, rest = await adapter.request(charge)
        refund = msgspec.structs.replace(hold, id="pay_3", kind="refund", amount=1200)
        [refunded] = await adapter.refund(refund, [RefundPart("pay_3", asked.reference, 1200)])
        await adapter.aclose()
    at_stripe = [(each["amount"], each["amount_received"]) for each in stripe.intents.values()]
    assert at_stripe == [(5000 * units, 5000 * units), (2000 * units, 0)]
    assert stripe.refunded(asked.reference) == 1200 * units
    assert [each.amount for each in (asked, captured, rest, refunded)] == [5000, 5000, 2000, 1200]
    reports = [report for event in stripe.events for report in event_reports(msgspec.json.encode(event))]
    assert [(report.status, report.amount) for report in reports] == [
        ("authorized", 5000),
        ("captured", 5000),
        ("refunded", 1200),
    ]
