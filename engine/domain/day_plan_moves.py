"""Apply a day plan to the jobs. Each group of moves is applied in one step, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint import registry
from engine.domain import schedules
from engine.domain.day_plan_world import assign_command
from engine.domain.day_plans import PlanGroup, StoredPlan, change_state, read_stored
from engine.errors import CalloutError, IllegalTransition, Indeterminate, TooEarly, Unavailable
from engine.roles import OPS, require_role
from engine.store import keys
from engine.types import JobId, Principal

if TYPE_CHECKING:
    from engine.runtime import Engine


class RefusedGroup(msgspec.Struct, frozen=True):
    """A group that could not be applied: the job that prevents it, and why (an error code)."""

    group: int
    job: str
    code: str


class AppliedPlan(msgspec.Struct, frozen=True):
    """The groups of a plan that are applied, by this request or an earlier one, and those that were refused now."""

    applied: list[int]
    refused: list[RefusedGroup]


async def apply_plan(engine: Engine, caller: Principal, plan: str, *, trace: str = "") -> AppliedPlan:
    """Apply every group of a plan that is not applied yet. A repeated request continues where the first one ended.

    Raises Forbidden unless the caller is ops, NotFound, TooEarly for a plan that is still computed, IllegalTransition
    for one that has failed, Expired for one that is too old. After Unavailable and Indeterminate the request may be
    repeated.
    """
    require_role(caller, OPS)
    stored = await read_stored(engine, plan)
    if stored.plan.state == "computing":
        raise TooEarly("The plan is still being computed")
    if stored.plan.groups is None:
        raise IllegalTransition("The plan has failed: ask for another one")
    applied, refused = [], []
    for number, group in enumerate(stored.plan.groups):
        why = None if number in stored.applied else await _apply_group(engine, caller, stored, number, group, trace)
        if why is None:
            applied.append(number)
        else:
            refused.append(why)
    await change_state(engine, stored.plan.zone, plan, "ready", "applied")
    return AppliedPlan(applied, refused)


async def _apply_group(
    engine: Engine, caller: Principal, stored: StoredPlan, number: int, group: PlanGroup, trace: str
) -> RefusedGroup | None:
    """Apply a group, and return why it is refused; None if it is applied."""
    zone = stored.plan.zone
    reads = (engine.store.command("HMGET", keys.job(zone, JobId(move.job)), "bp", "status") for move in group.moves)
    moves: list[dict[str, Any]] = []
    for move, (bp, status) in zip(group.moves, await asyncio.gather(*reads), strict=True):
        blueprint = registry.require_version(engine.blueprints, bp.decode()) if bp else None
        name = assign_command(blueprint, status.decode()) if blueprint else None
        found = engine.plans.find_plan(blueprint, name) if blueprint and name else None
        if blueprint is None or found is None:
            return RefusedGroup(number, move.job, "illegal_transition" if bp else "not_found")
        args = {"reason": msgspec.json.encode(f"day plan {stored.plan.id}").decode()}
        moves.append(
            {
                "job": move.job,
                "version": move.version,
                "technician": move.target,
                "bp": blueprint.key,
                "plan": found.plan_json.decode(),
                "args": args,
                "schedule": schedules.rule_text(engine, zone, blueprint),
            }
        )
    names = {"meta": keys.zone_meta(zone), "plan": keys.day_plan(zone, stored.plan.id), "log": keys.log(zone)}
    script_args: dict[str, Any] = {
        "group": number,
        "actor": f"{caller.role}:{caller.id}",
        "trace": trace,
        "moves": msgspec.json.encode(moves),
    }
    try:
        await engine.store.run(zone, "dayplan_apply", keys=names, args=script_args)
    except (Unavailable, Indeterminate):
        raise
    except CalloutError as error:
        if not error.reply:  # the refusal concerns the plan, not a job
            raise
        return RefusedGroup(number, error.reply[-1].decode(), error.code)
    return None
