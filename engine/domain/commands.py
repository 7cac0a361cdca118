"""Send each kind of command to its script: this module makes the script's keys and arguments.

The effect of a command (``does`` in its blueprint) decides which script runs. Every script gets the plan of its command
as JSON, and remembers what it parsed (lua/lib/plan.lua).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint.compiler import Plan
from engine.blueprint.schema import Blueprint, Effect
from engine.clock import now_ms
from engine.domain import codes, schedules
from engine.domain.dispute_arguments import dispute_arguments
from engine.domain.missing_files import naming_missing_files
from engine.errors import (
    AccountNotApproved,
    FieldError,
    Invalid,
    KycNotApproved,
    ProfileIncomplete,
    ScheduleConflict,
    StaleCode,
    WrongCode,
)
from engine.events import rfc3339_of
from engine.idempotency import in_redis
from engine.rules import fixes
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.store.scripts import Args
from engine.technicians.live import presence_lease_ms, refusal_of_zone
from engine.types import IdempotencyKey, JobId, Principal, TechnicianId, UserId, Zone, is_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_CLOCK_AHEAD_MS = 600_000
"""How far (ms) a client's clock may be ahead of this server's clock if no fix has shown its offset."""


class CommandInput(msgspec.Struct, frozen=True, kw_only=True):
    """A command with its arguments. With ``version`` the command is done only if the job has that version.
    ``occurred_at`` is ms since the Unix epoch. ``technician`` is the technician to assign; ``force`` assigns them
    although they lack the service or the capacity. ``dispute`` is the dispute to resolve.
    """

    command: str
    version: int | None = None
    reason: str | None = None
    code: str | None = None
    amount: int | None = None
    occurred_at: int | None = None
    technician: str | None = None
    force: bool = False
    dispute: str | None = None

    def arguments(self) -> list[Any] | None:
        """Return the arguments for the fingerprint of the request; None if there are none. An argument that a later
        version of Callout added is left out if it has no value, so that older stored fingerprints still match.
        """
        rest = [self.version, self.reason, self.code, self.amount, self.occurred_at]
        if self.technician is not None or self.force:
            rest += [self.technician, self.force]
        if self.dispute is not None:
            rest.append(self.dispute)
        return rest if any(argument is not None for argument in rest) else None


class CommandContext(msgspec.Struct, frozen=True):
    """The context of a command, which every script needs: the job, the caller and the request."""

    zone: Zone
    job: JobId
    caller: Principal
    key: IdempotencyKey
    fingerprint: str
    trace: str

    @property
    def actor(self) -> str:
        """Return the caller as ``<role>:<id>``, as events name the user who caused them."""
        return f"{self.caller.role}:{self.caller.id}"

    def record_key(self) -> str:
        """Return the Redis key of this command's idempotency record."""
        return keys.idempotency_record(self.zone, self.caller.id, self.key)

    def script_keys(self) -> dict[str, str]:
        """Return the keys that the scripts of all commands take."""
        return _script_keys(self.zone, self.job, self.record_key())

    def request_arguments(self) -> dict[str, str]:
        """Return the arguments that identify the request to a script: idempotency key, fingerprint and trace."""
        return {"key": self.key, "fingerprint": self.fingerprint, "trace": self.trace}

    def common_arguments(self, version: int | None) -> dict[str, str | int]:
        """Return the ``request_arguments``, and the version that the job must have ("" = any version)."""
        return {**self.request_arguments(), "if_version": "" if version is None else version}


def new_context(
    engine: Engine, caller: Principal, job_id: str, command: str, arguments: Any, key: str | None, trace: str
) -> CommandContext:
    """Return the context of a command. Raises NotFound for a text that is no job's id, Invalid for a malformed key."""
    zone, job = in_redis.parse_job_id(job_id)
    fingerprint = in_redis.fingerprint_of(engine, command, job, arguments)
    return CommandContext(zone, job, caller, in_redis.validate_key(key), fingerprint, trace)


CommandSender = Callable[["Engine", CommandContext, Blueprint, Plan, CommandInput], Awaitable[ScriptReply]]


async def send_command(
    engine: Engine, context: CommandContext, blueprint: Blueprint, plan: Plan, step: CommandInput
) -> ScriptReply:
    """Run the command. Raises the same errors as ``jobs.run_command``."""
    if step.occurred_at is not None:
        offset = await _clock_offset_ms(engine, context)
        step = msgspec.structs.replace(step, occurred_at=limit_to_now(step.occurred_at - offset))
    return await SENDER_OF_EFFECT.get(plan.command.effect, _send_step)(engine, context, blueprint, plan, step)


async def send_engine_command(
    engine: Engine, zone: Zone, job: JobId, blueprint: Blueprint, plan: Plan, entry: str, entered: str, *, reason: str
) -> ScriptReply:
    """Run a command on behalf of the engine, for the scheduled task ``entry``. The script removes the task in the same
    step. The task belongs to the state that the job entered at its version ``entered``: nothing happens if the job has
    left that state.
    """
    args = {"entry": entry, "entered": entered, "lease": presence_lease_ms(engine), "reason": f'"{reason}"'}
    unused = keys.idempotency_record(
        zone, UserId("engine"), "due"
    )  # this key is never written: a scheduled task has no idempotency key
    step = {"actor": "engine", "key": "", "fingerprint": "", "trace": "", "if_version": "", "bp": blueprint.key}
    return await engine.store.run(
        zone,
        "job_step",
        keys=_script_keys(zone, job, unused),
        args={**step, "plan": plan.plan_json, "args": msgspec.json.encode(args)},
    )


def _script_keys(zone: Zone, job: JobId, request: str) -> dict[str, str]:
    return {
        "meta": keys.zone_meta(zone),
        "job": keys.job(zone, job),
        "offers": keys.job_offers(zone, job),
        "causes": keys.job_causes(zone, job),
        "log": keys.log(zone),
        "req": request,
    }


async def _clock_offset_ms(engine: Engine, context: CommandContext) -> int:
    """Return how far (ms) the caller's clock is ahead, according to their fixes; 0 if no fix has shown the offset."""
    if context.caller.role != "technician":
        return 0
    record = keys.technician(context.zone, TechnicianId(context.caller.id))
    return fixes.confirmed_offset_ms(await engine.store.command("HGET", record, "clock"))


def limit_to_now(occurred_at: int) -> int:
    """Return the reported time ``occurred_at`` (ms), but not later than now. Raises Invalid if the time is more than
    ``MAX_CLOCK_AHEAD_MS`` in the future.
    """
    now = now_ms()
    if occurred_at > now + MAX_CLOCK_AHEAD_MS:
        raise Invalid(errors=[FieldError("/occurred_at", "In the future")])
    return max(0, min(occurred_at, now))


def encode_step_arguments(step: CommandInput, **more: Any) -> bytes:
    """Encode the arguments of a step, and ``more``, for the script. ``reason`` is encoded to JSON once, here."""
    args = dict(more)
    if step.reason is not None:
        args["reason"] = msgspec.json.encode(step.reason).decode()
    if step.occurred_at is not None:
        args["occurred_at"] = rfc3339_of(step.occurred_at)
    if step.force:
        args["force"] = True
    return msgspec.json.encode(args)


async def _send_claim(
    engine: Engine, context: CommandContext, blueprint: Blueprint, plan: Plan, step: CommandInput
) -> ScriptReply:
    zone, technician = context.zone, TechnicianId(context.caller.id)
    names = context.script_keys() | {"tech": keys.technician(zone, technician)}
    args: Args = {
        "technician": technician,
        **context.common_arguments(step.version),
        "bp": blueprint.key,
        "plan": plan.plan_json,
        "grace_ms": round(blueprint.dispatch.grace_s * 1000),
        "lease_ms": presence_lease_ms(engine),
        "schedule": schedules.rule_text(engine, zone, blueprint),
    }
    try:
        return await engine.store.run(zone, "job_claim", keys=names, args=args)
    except ScheduleConflict as error:
        raise schedules.name_other_job(error) from None
    except ProfileIncomplete as error:
        raise await refusal_of_zone(engine, zone, technician, error) from None


async def _send_refusal(
    engine: Engine, context: CommandContext, blueprint: Blueprint, plan: Plan, step: CommandInput
) -> ScriptReply:
    zone, technician = context.zone, TechnicianId(context.caller.id)
    names = context.script_keys() | {"tech_offers": keys.technician_offers(zone, technician)}
    head = {
        "technician": technician,
        **context.common_arguments(step.version),
        "bp": blueprint.key,
        "lease_ms": presence_lease_ms(engine),
    }
    if plan.state_entry:
        args = {**head, "plan": plan.plan_json, "args": encode_step_arguments(step)}
        return await engine.store.run(zone, "offer_refuse", keys=names, args=args)
    reason = msgspec.json.encode(step.reason) if step.reason is not None else b""
    args = {**head, "plan": plan.plan_json, "reason": reason}
    return await engine.store.run(zone, "offer_decline", keys=names, args=args)


async def _send_step(
    engine: Engine, context: CommandContext, blueprint: Blueprint, plan: Plan, step: CommandInput
) -> ScriptReply:
    names = context.script_keys()
    request = {"actor": context.actor, **context.common_arguments(step.version)}
    head = {**request, "bp": blueprint.key, "plan": plan.plan_json}
    if not plan.command.code:
        more = dispute_arguments(context.caller, context.zone, context.job, plan.command, step.reason, step.dispute)
        args = {**head, "args": encode_step_arguments(step, **more)}
        with naming_missing_files():
            return await engine.store.run(context.zone, "job_step", keys=names, args=args)
    if step.code is None:
        raise Invalid(errors=[FieldError("/code", f"Required: the {plan.command.code} code")])
    while True:
        found = await codes.compare_code(engine, context.zone, context.job, plan.command.code, step.code)
        try:
            with naming_missing_files():
                return await engine.store.run(
                    context.zone, "job_step", keys=names, args={**head, "args": encode_step_arguments(step, **found)}
                )
        except StaleCode:  # the codes were issued again after the comparison: compare again
            continue
        except WrongCode as error:
            error.extra["attempts_left"] = int(error.reply[0]) if error.reply else 0
            raise


async def _send_assignment(
    engine: Engine, context: CommandContext, blueprint: Blueprint, plan: Plan, step: CommandInput
) -> ScriptReply:
    zone = context.zone
    if step.technician is None or not is_id(step.technician):
        raise Invalid(errors=[FieldError("/technician", "Required: who is to do the job")])
    technician = TechnicianId(UserId(step.technician))
    args = {
        "technician": technician,
        "actor": context.actor,
        **context.common_arguments(step.version),
        "bp": blueprint.key,
        "plan": plan.plan_json,
        "args": encode_step_arguments(step),
        "schedule": schedules.rule_text(engine, zone, blueprint),
    }
    names = context.script_keys() | {"tech": keys.technician(zone, technician)}
    try:
        return await engine.store.run(zone, "job_assign", keys=names, args=args)
    except ScheduleConflict as error:
        raise schedules.name_other_job(error) from None
    except (ProfileIncomplete, KycNotApproved, AccountNotApproved) as error:
        raise Invalid(errors=[FieldError("/technician", f"Cannot take jobs: {error.code}")]) from error
    except Invalid as error:
        if error.errors:
            raise
        raise Invalid(errors=[FieldError("/technician", "Not here, or without the service")]) from error


SENDER_OF_EFFECT: dict[Effect, CommandSender] = {
    "take": _send_claim,
    "refuse": _send_refusal,
    "assign": _send_assignment,
}
"""Every other effect is sent by ``_send_step``."""
