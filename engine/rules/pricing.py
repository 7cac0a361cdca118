"""The price of a quote: amount = base × demand × peak, bounded, in integers.

All factors are integers in per mille. The product is exact. The limits are applied to the product of all factors, and
then the amount is rounded once, half up. (Rejected: to apply the cap before the last factor. Prices could then exceed
the cap.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

ONE = 1000
"""The factor 1 in per mille."""


class PriceFactor(NamedTuple):
    """A factor (per mille) of a price, with the name of its line in the breakdown and a text that people read."""

    line: str
    per_mille: int
    text: str


class PriceLine(msgspec.Struct, frozen=True):
    """A line of a breakdown. ``amount`` is what the line adds to the lines above it, in minor units."""

    line: str
    amount: int
    says: str


class Price(NamedTuple):
    """A price. ``amount`` is in minor units. ``multiplier`` is the bounded product of the factors, in per mille,
    rounded half up. The amounts of the lines in ``breakdown`` sum to ``amount``.
    """

    amount: int
    multiplier: int
    breakdown: list[PriceLine]


def price_of(base: int, factors: Sequence[PriceFactor], *, lowest: int, highest: int, round_to: int = 1) -> Price:
    """Return the price of ``base`` minor units under ``factors``. The product is limited to ``lowest`` … ``highest``
    (per mille). The amount is a multiple of ``round_to`` minor units if there is one within these limits.
    """
    product, scale = ONE, ONE
    lines = [PriceLine("base", base, "Base price")]
    reached = base
    for factor in factors:
        product, scale = product * factor.per_mille, scale * ONE
        if factor.per_mille != ONE:
            after = _half_up(base * product, scale)
            lines.append(PriceLine(factor.line, after - reached, factor.text))
            reached = after
    bounded = max(lowest * scale // ONE, min(highest * scale // ONE, product))
    if bounded != product:
        after = _half_up(base * bounded, scale)
        says = f"At least {multiplier_text(lowest)}" if bounded > product else f"At most {multiplier_text(highest)}"
        lines.append(PriceLine("limit", after - reached, says))
        reached = after
    amount = _rounded(base * bounded, scale, round_to, -(-base * lowest // ONE), base * highest // ONE)
    says = "Rounded" if round_to == 1 else f"Rounded to {round_to} minor units"
    lines.append(PriceLine("rounding", amount - reached, says))
    return Price(amount, _half_up(bounded * ONE, scale), lines)


def multiplier_text(per_mille: int) -> str:
    """Return a factor as people read it: ``× 1.15``."""
    return f"× {per_mille // ONE}.{per_mille % ONE:03}".rstrip("0").rstrip(".")


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _rounded(numerator: int, denominator: int, round_to: int, least: int, most: int) -> int:
    """Return the amount ``numerator ÷ denominator``, rounded half up to a multiple of ``round_to`` from ``least`` to
    ``most``; to a multiple of 1 if there is no such multiple. Rounding must not exceed the limits, because a law may
    set them.
    """
    first, last = -(-least // round_to) * round_to, most // round_to * round_to
    if first <= last:
        return max(first, min(last, _half_up(numerator, denominator * round_to) * round_to))
    amount = _half_up(numerator, denominator)
    return max(least, min(most, amount)) if least <= most else amount
