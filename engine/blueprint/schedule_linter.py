"""The linter of ``[schedule]``."""

from __future__ import annotations

from collections.abc import Iterator

from engine.blueprint.schedule_rule import MAX_BUFFER_S
from engine.blueprint.schema import Blueprint


def schedule_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield the problems of ``[schedule]``, one sentence each."""
    rule, first = blueprint.schedule, blueprint.initial_state if blueprint.states else ""
    if not 0 <= rule.buffer_s <= MAX_BUFFER_S:
        yield f"schedule: buffer_s must be from 0 to {MAX_BUFFER_S:.0f}"
    if rule.reserve and not rule.exclusive:
        yield "schedule: reserve needs exclusive = true: only an exclusive job has a place in a schedule"
    if rule.reserve and first:
        assigns = any(
            c.effect == "assign" and "engine" in c.by and first in c.from_ for c in blueprint.commands.values()
        )
        if blueprint.states[first].search_mode != "allocate" or not assigns:
            yield f"schedule: reserve needs seeks = allocate in {first}, and an engine's command to assign there"
