"""The linter of holds (``holds = true``): it refuses holds that no command captures, and declarations that the scripts
do not support.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.blueprint.edit_table import PRICE_FIELDS
from engine.blueprint.reach import states_with_holder
from engine.blueprint.schema import HOLDER_EFFECTS, Blueprint


def hold_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield the problems of a blueprint's holds, one sentence each. Only an accepted proposal of another price changes
    the hold; an edit of the price does not.
    """
    if not blueprint.may_hold:
        return
    held = states_with_holder(blueprint, lambda command: command.holds)
    charging = [command for command in blueprint.commands.values() if command.charges]
    if all(held.isdisjoint(command.from_) for command in charging):
        yield "holds: no command charges while money is held, so that what is held is never captured"
    for name, command in blueprint.commands.items():
        if command.holds and command.effect not in HOLDER_EFFECTS:
            yield f'command {name}: holds money, but does "{command.effect}" and gives nobody the job'
        if command.holds and command.charges:
            yield f"command {name}: holds and charges at once, so that the hold is never used"
    for state, fields in blueprint.edit.items():
        free = sorted(PRICE_FIELDS if "*" in fields else PRICE_FIELDS.intersection(fields))
        if state in held and free:
            yield f"edit: {state} lets {' and '.join(free)} change, but money is held: its price changes by a proposal"
