"""Commands on a job: claim, decline, cancel and all others that its blueprint declares.

The blueprint defines the states, the target and the audience of a command (engine/domain/own_blueprint.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from engine.blueprint import registry
from engine.blueprint.compiler import Plan
from engine.blueprint.relation import Relation, possible_relations, relations
from engine.blueprint.schema import Blueprint, Effect
from engine.clock import now_ms
from engine.domain import commands, job_view
from engine.domain.commands import CommandContext, CommandInput
from engine.domain.own_blueprint import run_with_own_blueprint
from engine.errors import CalloutError, Forbidden, Invalid, NotFound, OtherBlueprint, VersionConflict
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_redis import Outcome
from engine.roles import WHOLE_JOB_READER_ROLES
from engine.rules import job_document
from engine.rules.job_document import JobView
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.types import JobId, Principal, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

ROUTE_OF_EFFECT = {
    "bid": "POST /v1/jobs/{id}/bids",
    "withdraw": "POST /v1/jobs/{id}/bids/{bid}/withdraw",
    "award": "POST /v1/jobs/{id}/bids/{bid}/accept",
    "capture": "POST /v1/jobs/{id}/payments",
}
"""The routes for commands whose effects need more than a step's arguments."""


COMMAND_ALIASES = {"claim": "accept"}
"""`claim` and `respond` accept an offer under any blueprint, also if the blueprint's command has another name."""


def sees_whole_job(caller: Principal, job: JobView) -> bool:
    """Return whether a caller who may see the job may see all its members. A technician may if they hold the job and
    have accepted the job.
    """
    if caller.role in WHOLE_JOB_READER_ROLES:
        return True
    if caller.role != "technician":
        return False
    return job.holder_id == caller.id and not job.asked


def visible_part(caller: Principal, job: bytes) -> bytes:
    """Return a job (JSON) as the caller may see it: all of it or its public part. The holder in this JSON decides, not
    the present holder.
    """
    view = job_document.decode_job(job)
    if view.customer is None or sees_whole_job(caller, view):
        return job
    return job_document.public_part_of(job, holder=view.holder_id == caller.id)


async def claim(
    engine: Engine,
    caller: Principal,
    job_id: str,
    *,
    key: str | None = None,
    version: int | None = None,
    trace: str = "",
) -> Outcome:
    """Claim an offered job for the caller. Exactly one of several simultaneous claims succeeds.

    Raises Forbidden for a caller who is not a technician, and the errors of PROTOCOL §3 in the order given there.
    """
    return await run_command(
        engine, caller, job_id, CommandInput(command="claim", version=version), key=key, trace=trace
    )


async def run_command(
    engine: Engine,
    caller: Principal,
    job_id: str,
    step: CommandInput,
    *,
    key: str | None = None,
    trace: str = "",
) -> Outcome:
    """Run one command of the job's blueprint.

    Raises NotFound for a job that is hidden from the caller and for commands that the blueprint does not have,
    Forbidden for a role that may never give the command, IllegalTransition (or Taken, Cancelled, Expired) in a state
    that the command does not start from, VersionConflict with the present job, WrongCode with ``attempts_left``,
    CodeLocked, Frozen, Invalid for a missing argument, ReusedKey, and the errors of ``Store.run``.
    """
    context = commands.new_context(engine, caller, job_id, step.command, step.arguments(), key, trace)
    began, outcome = perf_counter(), "ok"
    try:
        return await run_with_own_blueprint(
            engine, context, lambda blueprint: _run_command_of(engine, context, blueprint, step)
        )
    except CalloutError as error:
        outcome = error.code
        if isinstance(error, Invalid):
            await check_visible(engine, context)
        raise
    finally:
        engine.metrics.commands.add(_counted_name(engine, step.command), outcome, perf_counter() - began)


def _counted_name(engine: Engine, command: str) -> str:
    """Return the name under which a command is counted: ``other`` for a word that no blueprint has, since callers may
    send any word.
    """
    known = command in COMMAND_ALIASES or any(command in each.commands for each in engine.blueprints.by_name.values())
    return command if known else "other"


async def check_visible(engine: Engine, context: CommandContext) -> None:
    """Raise NotFound if the job is hidden from the caller: another error, such as that for a missing argument, would
    reveal that the job exists.
    """
    if not relations_to(context.caller, await read_record(engine, context.caller, context.zone, context.job)):
        raise NotFound("No such job")


async def read_record(engine: Engine, caller: Principal, zone: Zone, job: JobId) -> Sequence[bytes]:
    """Return the values that lua/job_read.lua returns for this caller. Raises NotFound if Redis does not have the
    job.
    """
    names = {"meta": keys.zone_meta(zone), "job": keys.job(zone, job), "offers": keys.job_offers(zone, job)}
    technician = caller.id if caller.role == "technician" else ""
    return (await engine.store.read(zone, "job_read", keys=names, args={"technician": technician})).values


def relations_to(caller: Principal, record: Sequence[bytes]) -> list[Relation]:
    """Return the caller's relations to a job, by the values of ``read_record``."""
    full, _, _, _, _, _, _, _, offer, bid, bids = record
    return relations(caller, job_document.decode_job(full), offered=bool(offer or bid), bids=bids == b"1")


async def _run_command_of(engine: Engine, context: CommandContext, blueprint: Blueprint, step: CommandInput) -> Outcome:
    name = step.command if step.command in blueprint.commands else COMMAND_ALIASES.get(step.command, "")
    plan = engine.plans.find_plan(blueprint, name)
    if plan is None or plan.command.by == ("engine",):
        await check_blueprint(engine, context, blueprint)
        raise NotFound(f"No such command: {step.command}")
    if possible_relations(context.caller.role).isdisjoint(plan.command.by):
        await check_blueprint(engine, context, blueprint)
        raise Forbidden(f"A {context.caller.role} may not {step.command}")
    if plan.command.effect == "assign" and step.technician is None:
        plan = _find_release_plan(engine, blueprint, context.caller) or plan
    if plan.command.effect in ROUTE_OF_EFFECT:
        await check_blueprint(engine, context, blueprint)
        raise Invalid(f"{step.command} is given by {ROUTE_OF_EFFECT[plan.command.effect]}")
    try:
        done = await commands.send_command(engine, context, blueprint, plan, step)
    except VersionConflict as error:
        error.extra["job"] = msgspec.Raw(await read_current_job(engine, context))
        raise
    if plan.command.effect == "take" and not done.repeated:
        engine.metrics.commands.claims += 1
    return await command_outcome(engine, context, blueprint, plan, done)


def _find_release_plan(engine: Engine, blueprint: Blueprint, caller: Principal) -> Plan | None:
    """Return the plan of the blueprint's command that takes the job from its holder and offers it again (the effect
    ``release``). It runs if ``assign`` names no technician. None if the caller may give no such command.
    """
    held = possible_relations(caller.role)
    names = (name for name, spec in blueprint.commands.items() if spec.effect == "release" and held & set(spec.by))
    return engine.plans.find_plan(blueprint, next(names, ""))


async def check_blueprint(engine: Engine, context: CommandContext, blueprint: Blueprint) -> None:
    """Raise OtherBlueprint if the job exists and has another blueprint."""
    found = await engine.store.command("HGET", keys.job(context.zone, context.job), "bp")
    if found is not None and found.decode() != blueprint.key:
        raise OtherBlueprint(found.decode())


async def read_blueprint(engine: Engine, zone: Zone, job: JobId) -> Blueprint:
    """Read the blueprint of a job, for functions that need more than one command's plan. Raises NotFound if Redis does
    not have the job, Unavailable if this process has not loaded its blueprint.
    """
    found = await engine.store.command("HGET", keys.job(zone, job), "bp")
    if found is None:
        raise NotFound("No such job")
    return registry.require_version(engine.blueprints, found.decode())


async def find_command(
    engine: Engine, zone: Zone, job: JobId, blueprint: Blueprint, effect: Effect, *, resolves: str = ""
) -> str | None:
    """Return the name of the blueprint's command with this effect, for routes that do not name a command. If several
    commands have the effect, return the command that starts from the job's present state. This function does not check
    whether the command is allowed.
    """
    named = blueprint.commands.items()
    names = [name for name, spec in named if spec.effect == effect and spec.resolves == resolves]
    if len(names) > 1:
        status = (await engine.store.command("HGET", keys.job(zone, job), "status") or b"").decode()
        names = [name for name in names if status in blueprint.commands[name].from_] or names
    return names[0] if names else None


async def command_outcome(
    engine: Engine, context: CommandContext, blueprint: Blueprint, plan: Plan, reply: ScriptReply
) -> Outcome:
    """Return the outcome of a command: the job as of the command's event, with the actions that the caller may take."""
    if len(reply.values) > 1:
        job_json = reply.values[1]
    else:
        job_json = await in_redis.job_at_event(engine, context.zone, reply) or await read_current_job(engine, context)
    job_json = visible_part(context.caller, job_json)
    # A technician who declined a job that now takes bids may bid for it.
    bids = (
        plan.command.effect == "refuse"
        and blueprint.states[job_document.decode_job(job_json).status].search_mode == "bids"
    )
    contact = reply.values[2].decode() if plan.command.effect == "take" and len(reply.values) > 2 else None
    return await change_outcome(
        engine, context, blueprint, job_json, reply, message=plan.command.message, bids=bids, contact=contact
    )


async def change_outcome(
    engine: Engine,
    context: CommandContext,
    blueprint: Blueprint,
    job_json: bytes,
    reply: ScriptReply,
    *,
    message: str | None = None,
    bids: bool = False,
    contact: str | None = None,
) -> Outcome:
    """Return the outcome of a command that changed a job, for its caller."""
    job = await changed_view(engine, context.caller, blueprint, job_json, bids=bids, contact=contact)
    return Outcome(job, message, reply.seq, reply.version, reply.repeated, context.key)


async def changed_view(
    engine: Engine,
    caller: Principal,
    blueprint: Blueprint,
    job_json: bytes,
    *,
    bids: bool = False,
    contact: str | None = None,
) -> msgspec.Raw:
    """Return the view of a job that the caller has just changed. Raises Indeterminate, not Unavailable, if the view
    cannot be read, because the change is already done.
    """
    names = actions_after_change(caller, blueprint, job_json, bids=bids)
    with in_sql.unavailable_as_indeterminate():
        return msgspec.Raw(await job_view.view_job(engine, caller, blueprint, job_json, names, contact=contact))


def actions_after_change(caller: Principal, blueprint: Blueprint, job_json: bytes, *, bids: bool = False) -> list[str]:
    """Return the commands that the job's state allows a caller who has just changed the job. ``bids`` is true if they
    may bid now. A caller who has just given a command has no open bid, so that ``withdraw`` is never in the result.
    """
    job = job_document.decode_job(job_json)
    names = blueprint.actions(job, relations(caller, job, bids=bids), now=now_ms())
    return [name for name in names if blueprint.commands[name].effect != "withdraw"]


async def read_current_job(engine: Engine, context: CommandContext) -> bytes:
    """Return the present job, in full or only its public part, for a caller who may give commands."""
    full, public, *_ = await read_record(engine, context.caller, context.zone, context.job)
    return full if sees_whole_job(context.caller, job_document.decode_job(full)) else public
