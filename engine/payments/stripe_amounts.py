"""Convert amounts between Callout's minor units and Stripe's.

They are the same, except in two currencies: ISO 4217 gives the Icelandic króna and the Ugandan shilling no minor unit,
but Stripe expects them with two decimals that are always 00
(https://docs.stripe.com/currencies#special-cases). Without the conversion, a customer would pay a hundredth.
"""

from __future__ import annotations

_STRIPE_UNITS = {"ISK": 100, "UGX": 100}
"""How many of Stripe's units are one minor unit of ISO 4217; 1 for all other currencies."""


def stripe_amount(amount: int, currency: str) -> int:
    """Return an amount of minor units in Stripe's units."""
    return amount * _STRIPE_UNITS.get(currency, 1)


def minor_amount(amount: int, currency: str) -> int:
    """Return an amount of Stripe's units in minor units, rounded down."""
    return amount // _STRIPE_UNITS.get(currency, 1)
