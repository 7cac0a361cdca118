"""Bids: technicians offer to do a job for a price, and its customer accepts one.

Redis stores the latest bid of each technician as long as Redis stores the job. A technician who withdrew a bid may bid
again. When a job leaves the state that accepts bids, the script of that step closes all open bids
(lua/lib/bid_close.lua). Later SQL has the bids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.blueprint.compiler import Plan
from engine.blueprint.schema import Blueprint, Effect
from engine.domain import jobs, schedules
from engine.domain.commands import CommandContext, new_context
from engine.domain.own_blueprint import run_with_own_blueprint
from engine.errors import (
    AtCapacity,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    ProfileIncomplete,
    ScheduleConflict,
    VersionConflict,
)
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.technicians.live import presence_lease_ms, refusal_of_zone
from engine.types import Principal, TechnicianId, is_id, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_BIDS = 200
"""How many technicians may bid for one job: a customer does not read more bids, and each bidder receives an event at
the end.
"""
CANNOT_TAKE_TEXT = "Its technician cannot take this job now"


class BidOutcome(msgspec.Struct, frozen=True):
    """The outcome of a command about a bid. ``bid`` is the bid as JSON, ``key`` is the request key of the command."""

    bid: msgspec.Raw
    message: str | None
    repeated: bool
    key: str


class BidTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A bid to create. ``amount`` is in minor units of the job's currency; None = the amount that the customer offers.
    ``version`` is the version of the job that the caller has read.
    """

    amount: int | None = None
    note: str | None = None
    version: int | None = None


async def create_bid(
    engine: Engine, caller: Principal, job_id: str, terms: BidTerms, *, key: str | None = None, trace: str = ""
) -> BidOutcome:
    """Bid for a job that accepts bids.

    Raises Forbidden if the caller is no technician; the errors of a claim if the technician may not receive offers;
    NotFound for a technician who does not offer the service or has a block with the customer; Taken if another
    technician has the job; IllegalTransition, Expired or Frozen if the job's state accepts no bids; NotOffered for a
    former holder of the job; Duplicate if the technician has an open bid; ScheduleConflict with the other job if the
    job has a time at which the technician has none; AtCapacity beyond ``MAX_BIDS``; VersionConflict with the present
    job; ReusedKey.
    """
    if caller.role != "technician":
        raise Forbidden("Only technicians bid")
    context = new_context(engine, caller, job_id, "bid", [terms.amount, terms.note, terms.version], key, trace)
    name = new_id("bid")

    async def run_with_blueprint(blueprint: Blueprint) -> BidOutcome:
        plan = await _find_plan(engine, context, blueprint, "bid")
        zone, me = context.zone, TechnicianId(caller.id)
        names = _script_keys(context) | {
            "offers": keys.job_offers(zone, context.job),
            "tech": keys.technician(zone, me),
        }
        args = {
            "technician": me,
            **_common_arguments(context, terms.version, blueprint, plan),
            "bid": name,
            "amount": "-" if terms.amount is None else terms.amount,
            "note": msgspec.json.encode(terms.note),
            "max_bids": MAX_BIDS,
            **_duration_arguments(engine, blueprint),
            "schedule": schedules.rule_text(engine, zone, blueprint),
        }
        try:
            done = await engine.store.run(zone, "bid_create", keys=names, args=args)
        except ScheduleConflict as error:
            raise schedules.name_other_job(error) from None
        except ProfileIncomplete as error:
            raise await refusal_of_zone(engine, zone, me, error) from None
        except AtCapacity as error:
            raise AtCapacity(f"The job has {MAX_BIDS} bids already", repeated=error.repeated) from error
        except VersionConflict as error:
            raise await _add_current_job(engine, context, error) from error
        return await _bid_outcome(engine, context, plan, done)

    return await run_with_own_blueprint(engine, context, run_with_blueprint)


async def withdraw_bid(
    engine: Engine,
    caller: Principal,
    job_id: str,
    bid: str,
    *,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> BidOutcome:
    """Withdraw the caller's bid; a repeat changes nothing. Raises Forbidden, NotFound if ``bid`` is not the caller's
    present bid, IllegalTransition if the bid is closed or accepted, Frozen, VersionConflict with the present job,
    ReusedKey.
    """
    if caller.role != "technician":
        raise Forbidden("Only technicians bid")
    context = new_context(engine, caller, job_id, "withdraw", [_require_bid_id(bid), version], key, trace)

    async def run_with_blueprint(blueprint: Blueprint) -> BidOutcome:
        plan, zone = await _find_plan(engine, context, blueprint, "withdraw"), context.zone
        args = {"technician": caller.id, **_common_arguments(context, version, blueprint, plan), "bid": bid}
        try:
            done = await engine.store.run(zone, "bid_withdraw", keys=_script_keys(context), args=args)
        except VersionConflict as error:
            raise await _add_current_job(engine, context, error) from error
        return await _bid_outcome(engine, context, plan, done)

    return await run_with_own_blueprint(engine, context, run_with_blueprint)


async def accept_bid(
    engine: Engine,
    caller: Principal,
    job_id: str,
    bid: str,
    *,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> Outcome:
    """Accept a bid: its technician becomes the holder, at the bid's amount if the price is flat, and all other bids are
    declined.

    Raises Forbidden if the caller is no customer; NotFound for the job of another customer and for a bid that is not
    for this job; IllegalTransition if the bid is not open or the job accepts no bids; Expired; Frozen; Invalid at
    ``/bid`` and AtCapacity if the technician may not or cannot take the job any more; VersionConflict with the present
    job; ReusedKey.
    """
    if caller.role != "customer":
        raise Forbidden("Only its customer accepts a bid")
    context = new_context(engine, caller, job_id, "award", [_require_bid_id(bid), version], key, trace)

    async def run_with_blueprint(blueprint: Blueprint) -> Outcome:
        plan, zone = await _find_plan(engine, context, blueprint, "award"), context.zone
        names = context.script_keys() | {"bids": keys.job_bids(zone, context.job)}
        args = {"bid": bid, "actor": context.actor, **_common_arguments(context, version, blueprint, plan)}
        args |= {"audience": blueprint.audience("bid.accepted"), **_duration_arguments(engine, blueprint)}
        args["schedule"] = schedules.rule_text(engine, zone, blueprint)
        try:
            done = await engine.store.run(zone, "bid_accept", keys=names, args=args)
        except AtCapacity as error:
            raise AtCapacity("Its technician holds as many jobs as they may", repeated=error.repeated) from error
        except Invalid as error:
            if type(error) is not Invalid:
                raise
            raise Invalid(errors=[FieldError("/bid", CANNOT_TAKE_TEXT)], repeated=error.repeated) from error
        except VersionConflict as error:
            raise await _add_current_job(engine, context, error) from error
        return await jobs.command_outcome(engine, context, blueprint, plan, done)

    return await run_with_own_blueprint(engine, context, run_with_blueprint)


def _require_bid_id(bid: str) -> str:
    if not is_id(bid):
        raise NotFound("No such bid")
    return bid


async def _find_plan(engine: Engine, context: CommandContext, blueprint: Blueprint, effect: Effect) -> Plan:
    """Return the plan of the blueprint's command with this effect. Raises NotFound if the blueprint has no such
    command, OtherBlueprint if the job has another blueprint.
    """
    name = await jobs.find_command(engine, context.zone, context.job, blueprint, effect)
    plan = engine.plans.find_plan(blueprint, name) if name is not None else None
    if plan is None:
        await jobs.check_blueprint(engine, context, blueprint)
        raise NotFound("This job accepts no bids")
    return plan


def _common_arguments(
    context: CommandContext, version: int | None, blueprint: Blueprint, plan: Plan
) -> dict[str, str | int | bytes]:
    """Return the arguments that all scripts of bids have in common."""
    return {**context.common_arguments(version), "bp": blueprint.key, "plan": plan.plan_json}


def _duration_arguments(engine: Engine, blueprint: Blueprint) -> dict[str, int]:
    return {"grace_ms": round(blueprint.dispatch.grace_s * 1000), "lease_ms": presence_lease_ms(engine)}


def _script_keys(context: CommandContext) -> dict[str, str]:
    """Return the keys that the scripts of a technician's own bid have in common."""
    zone, job = context.zone, context.job
    return {
        "meta": keys.zone_meta(zone),
        "job": keys.job(zone, job),
        "bids": keys.job_bids(zone, job),
        "log": keys.log(zone),
        "req": context.record_key(),
    }


async def _add_current_job(engine: Engine, context: CommandContext, error: VersionConflict) -> VersionConflict:
    error.extra["job"] = msgspec.Raw(await jobs.read_current_job(engine, context))
    return error


async def _bid_outcome(engine: Engine, context: CommandContext, plan: Plan, reply: ScriptReply) -> BidOutcome:
    """Return the outcome of a command: the bid from the script's reply or, for a repeated request, from the event of
    the first request.
    """
    if len(reply.values) > 1:
        bid = msgspec.Raw(reply.values[1])
    else:
        bid = (await in_redis.read_payload_members(engine, context.zone, reply.seq))["bid"]
    return BidOutcome(bid, plan.command.message, reply.repeated, context.key)
