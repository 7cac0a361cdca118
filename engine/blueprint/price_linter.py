"""The linter of a blueprint's price. It refuses factors that cannot change any price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import inf

from engine.blueprint.edit_table import PRICE_FIELDS
from engine.blueprint.price import Price
from engine.blueprint.reach import states_with_holder
from engine.blueprint.schema import Blueprint
from engine.rules.pricing import ONE, PriceFactor, price_of
from engine.rules.surge import DEAD_BAND, DemandTable, reachable_multipliers

MAX_FACTOR = 10 * ONE
MAX_QUOTE_S = 86_400
MAX_HOLD_S = 365 * 86_400
MAX_ROUND_TO = 1_000_000
_LARGE_BASE = 10**9
"""A price so large that the smallest difference of a factor changes the price."""


def price_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield the problems of ``[price]`` that concern a commission or a quoted price, one sentence each."""
    price = blueprint.price
    yield from _commission_problems(blueprint)
    if not price.is_quoted:
        given = {"demand": price.demand, "peak": price.peak, "total": price.total, "round_to": price.round_to != 1}
        yield from (f'{name}: changes no price; it needs source = "quote"' for name, value in given.items() if value)
        return
    yield from _lifecycle_problems(blueprint)
    if not 1 <= price.quote_s <= MAX_QUOTE_S:
        yield f"quote_s must be from 1 to {MAX_QUOTE_S:,} seconds"
    if not 1 <= price.round_to <= MAX_ROUND_TO:
        yield f"round_to must be from 1 to {MAX_ROUND_TO:,} minor units"
    problems = [*_limit_problems(price), *_peak_problems(price)]
    problems += [f"demand: {problem}" for problem in _demand_problems(price.demand)] if price.demand else []
    yield from problems or _useless_factors(price)


def _commission_problems(blueprint: Blueprint) -> Iterator[str]:
    commission = blueprint.price.commission
    if commission is None:
        return
    if not 0 <= commission.per_mille <= ONE:
        yield f"commission: per_mille must be from 0 to {ONE}"
    if not 0 <= commission.hold_s <= MAX_HOLD_S:
        yield f"commission: hold_s must be from 0 to {MAX_HOLD_S:,} seconds"
    done = {name for name, state in blueprint.states.items() if state.phase == "done"}
    if not done:
        yield "commission: nobody earns anything: no state has the phase done"
    elif done.isdisjoint(states_with_holder(blueprint)):
        yield "commission: nobody earns anything: no job that has a technician reaches the phase done"


def _lifecycle_problems(blueprint: Blueprint) -> Iterator[str]:
    bidding = [name for name, state in blueprint.states.items() if state.search_mode == "bids"]
    yield from (f'source: state {name!r} seeks "bids", and a quoted price has no bids' for name in bidding)
    for state, fields in blueprint.edit.items():
        free = sorted(PRICE_FIELDS if "*" in fields else PRICE_FIELDS.intersection(fields))
        if free:
            yield f"source: edit: {state} lets {' and '.join(free)} change, but a quoted price changes by a proposal"


def _limit_problems(price: Price) -> Iterator[str]:
    limits = price.limits
    if price.total is None and (price.demand or price.peak):
        yield "total is missing: say between which multipliers (per mille) all factors together stay"
    if not 0 < limits.min <= ONE <= limits.max <= MAX_FACTOR:
        yield f"total: min must be above 0 and at most {ONE}, max from {ONE} to {MAX_FACTOR:,} (per mille)"


def _demand_problems(table: DemandTable) -> Iterator[str]:
    rows = table.table
    if len(rows) < 2:
        yield "table needs two rows or more, each [pressure, multiplier in per mille]"
    if any(pressure < 0 for pressure, _ in rows) or any(low >= high for (low, _), (high, _) in pairwise(rows)):
        yield "table: the pressures must rise from row to row, from 0 or more"
    if any(low > high for (_, low), (_, high) in pairwise(rows)):
        yield "table: a multiplier falls although the pressure rises"
    if not 0 < table.min <= ONE <= table.max <= MAX_FACTOR:
        yield f"min must be above 0 and at most {ONE}, max from {ONE} to {MAX_FACTOR:,} (per mille)"
    yield from (
        f"table: the multiplier {value} is outside of min and max, so no price has it"
        for _, value in rows
        if not table.min <= value <= table.max
    )
    if not 0 <= table.least < inf:
        yield "least must be a number of requests, not below 0"
    if rows and max(abs(value - ONE) for _, value in rows) < DEAD_BAND:
        yield f"table: it never differs by {DEAD_BAND} from {ONE}, and smaller differences move no price"


def _peak_problems(price: Price) -> Iterator[str]:
    taken: dict[int, int] = {}
    for number, window in enumerate(price.peak, 1):
        if not 0 < window.by <= MAX_FACTOR:
            yield f"peak {number}: by must be above 0 and at most {MAX_FACTOR:,} (per mille)"
        try:
            minutes = list(window.minutes())
        except ValueError as error:
            yield f"peak {number}: {error}"
            continue
        others = sorted({taken[minute] for minute in minutes if taken.get(minute, number) != number})
        yield from (f"peak {number}: overlaps with window {other}: which factor applies?" for other in others)
        taken |= dict.fromkeys(minutes, number)


def _useless_factors(price: Price) -> Iterator[str]:
    """Yield a problem for each factor without which every price would be the same, whatever the other factor is."""
    demands = reachable_multipliers(price.demand) if price.demand else [ONE]
    peaks = [ONE, *(window.by for window in price.peak)]
    for number, window in enumerate(price.peak, 1):
        if _same_prices(price, ((demand, window.by) for demand in demands), ((demand, ONE) for demand in demands)):
            yield f"peak {number}: by = {window.by} changes no price within total"
    for (_, low), (pressure, high) in pairwise(price.demand.table if price.demand else ()):
        if low != high and _same_prices(price, ((high, peak) for peak in peaks), ((low, peak) for peak in peaks)):
            yield f"demand: table: the row of pressure {pressure:g} changes no price"


def _same_prices(price: Price, some: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> bool:
    return all(_amount(price, *one) == _amount(price, *other) for one, other in zip(some, others, strict=True))


def _amount(price: Price, demand: int, peak: int) -> int:
    factors = [PriceFactor("demand", demand, ""), PriceFactor("peak", peak, "")]
    return price_of(_LARGE_BASE, factors, lowest=price.limits.min, highest=price.limits.max).amount
