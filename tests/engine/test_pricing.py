"""The price of a quote: its limits, its lines and its rounding, for any base and any factors."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.pricing import ONE, PriceFactor, price_of

PER_MILLE = st.integers(1, 10 * ONE)
BASES = st.sampled_from([0, 1, 2, 99, 5_000, 10**12]) | st.integers(0, 10**12)
ROUNDING = st.sampled_from([1, 5, 50, 100, 1_000])


def factors_of(*values: int) -> list[PriceFactor]:
    return [PriceFactor(f"factor {place}", value, "") for place, value in enumerate(values)]


@settings(max_examples=200)
@given(BASES, st.lists(PER_MILLE, max_size=3), PER_MILLE, PER_MILLE, ROUNDING)
def test_no_price_leaves_its_limits_and_its_lines_sum_to_it(
    base: int, values: list[int], one: int, other: int, round_to: int
) -> None:
    """The product of all factors and the rounded amount stay within the limits. The lines sum to the amount exactly,
    and the last line is `rounding`.
    """
    lowest, highest = sorted((one, other))
    price = price_of(base, factors_of(*values), lowest=lowest, highest=highest, round_to=round_to)
    assert lowest <= price.multiplier <= highest
    assert sum(line.amount for line in price.breakdown) == price.amount
    assert price.breakdown[0].line == "base" and price.breakdown[-1].line == "rounding"
    least, most = -(-base * lowest // ONE), base * highest // ONE
    assert least <= price.amount <= most or least > most  # no whole amount is within the limits
    if -(-least // round_to) * round_to <= most:
        assert price.amount % round_to == 0


@settings(max_examples=100)
@given(BASES, PER_MILLE, PER_MILLE, PER_MILLE, ROUNDING)
def test_a_price_rises_with_each_factor(base: int, one: int, other: int, peak: int, round_to: int) -> None:
    """A larger factor never makes a price smaller."""
    low, high = (
        price_of(base, factors_of(value, peak), lowest=900, highest=2_200, round_to=round_to).amount
        for value in sorted((one, other))
    )
    assert low <= high


def test_the_limit_comes_after_all_factors() -> None:
    """2.0 × 1.5 is limited to 2.2. A limit that was applied before the last factor would give 3.0."""
    price = price_of(10_000, factors_of(2_000, 1_500), lowest=900, highest=2_200)
    assert (price.amount, price.multiplier) == (22_000, 2_200)
    assert [(line.line, line.amount) for line in price.breakdown] == [
        ("base", 10_000),
        ("factor 0", 10_000),
        ("factor 1", 10_000),
        ("limit", -8_000),
        ("rounding", 0),
    ]
    beyond = price_of(10_000, factors_of(2_000, 9_000), lowest=900, highest=2_200)
    assert beyond.amount == price.amount


def test_amounts_are_rounded_once_and_half_up() -> None:
    """1.15 × 1.15 of 101 is 133.57, and rounded after each factor it would be 133. A half is rounded up."""
    assert price_of(101, factors_of(1_150, 1_150), lowest=900, highest=2_200).amount == 134
    assert price_of(5, factors_of(1_100), lowest=900, highest=2_200).amount == 6
    assert price_of(1, factors_of(1_150), lowest=900, highest=2_200).amount == 1
    assert price_of(0, factors_of(1_150), lowest=900, highest=2_200, round_to=50).amount == 0


def test_rounding_does_not_lead_out_of_the_limits() -> None:
    """An amount is rounded down if the next multiple would be above the limit, and to a whole minor unit if no multiple
    is within the limits.
    """
    # the upper limit is 1,530
    assert price_of(1_020, factors_of(5_000), lowest=900, highest=1_500, round_to=100).amount == 1_500
    assert price_of(10, factors_of(1_200), lowest=900, highest=2_200, round_to=50).amount == 12
