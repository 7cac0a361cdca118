"""The payment adapter that the settings choose."""

from __future__ import annotations

from engine.payments.adapter import PaymentAdapter
from engine.payments.simulated import SimulatedAdapter
from engine.payments.stripe import StripeAdapter
from engine.process.settings import Settings


def open_adapter(settings: Settings) -> PaymentAdapter | None:
    """Return the adapter; None for `outside`, because then a payment service reads the events and reports by HTTP. The
    caller closes the adapter.
    """
    if settings.payments == "test":
        return SimulatedAdapter()
    if settings.payments == "stripe":
        return StripeAdapter(settings.stripe_url, settings.stripe_key, settings.stripe_webhook_secret)
    return None
