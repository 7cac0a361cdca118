"""The linter of locked prices. After a command that locks the price (``locks_price``, ``signs``) no other price can be
proposed and the price cannot be edited. A blueprint that declares this for such states declares something that never
happens.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.blueprint.edit_table import PRICE_FIELDS
from engine.blueprint.reach import first_states, states_before, states_from
from engine.blueprint.schema import Blueprint


def lock_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield one sentence for each declaration about a change of a price that is always locked."""
    open_states = states_before(blueprint, lambda command: command.locks_price or command.signs)
    fixed = states_from(blueprint, first_states(blueprint)) - open_states
    for state in blueprint.price.propose:
        if state in fixed:
            yield f"price: propose: in {state!r} the price is fixed already, so nobody can propose another one"
    for state, fields in blueprint.edit.items():
        named = sorted(PRICE_FIELDS.intersection(fields))
        if state in fixed and named:
            yield f"edit: in {state!r} the price is fixed already, so {' and '.join(named)} cannot change"
