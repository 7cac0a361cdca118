"""Price proposals: one side of a job proposes another price than was agreed, and the other side accepts or rejects it.

One proposal is open at a time. The proposal is stored in the job's record and sent with the job to the job's two sides
(engine/domain/job_view.py). The proposal is bound to the technician who held the job at that time: if they leave, the
proposal is void. The blueprint declares in which states a price may be proposed. A locked price cannot be changed by a
proposal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from engine.blueprint.schema import Blueprint
from engine.domain import jobs, payments
from engine.domain.commands import CommandContext, new_context
from engine.domain.own_blueprint import run_with_own_blueprint
from engine.errors import Duplicate, Forbidden, NotFound, VersionConflict
from engine.idempotency import in_redis
from engine.store.connection import ScriptReply
from engine.types import Principal, is_id, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

PriceAnswer = Literal["accepted", "rejected"]
EVENT_OF_STATUS: dict[str, str] = {"open": "price.proposed", "accepted": "price.changed", "rejected": "price.rejected"}
"""The event for each status of a proposal."""


class PriceOutcome(msgspec.Struct, frozen=True):
    """The outcome of a command about a price: JSON of the proposal, and of the job as the caller may see it."""

    proposal: msgspec.Raw
    job: msgspec.Raw
    version: int
    repeated: bool
    key: str


async def propose_price(
    engine: Engine,
    caller: Principal,
    job_id: str,
    amount: int,
    *,
    reason: str | None = None,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> PriceOutcome:
    """Propose ``amount`` to the other side, in minor units; for an hourly price it is the rate.

    Raises Forbidden if the caller's role is neither customer nor technician; NotFound if the caller is no party of the
    job; IllegalTransition if the job's state allows no proposal; PriceLocked; Duplicate if a proposal is open; Frozen;
    VersionConflict with the present job; ReusedKey; Unavailable if this process has not loaded the job's blueprint.
    """
    _require_party_role(caller)
    context = new_context(engine, caller, job_id, "price_propose", [amount, reason, version], key, trace)
    name = new_id("prc")
    text = b"" if reason is None else msgspec.json.encode(reason)
    try:
        return await _run_script(
            engine, context, "price_propose", version, {"id": name, "amount": amount, "reason": text}, "open"
        )
    except Duplicate as error:
        raise Duplicate("A proposal is open and must be answered first", repeated=error.repeated) from error


async def answer_proposal(
    engine: Engine,
    caller: Principal,
    job_id: str,
    proposal: str,
    answer: PriceAnswer,
    *,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> PriceOutcome:
    """Accept or reject the other side's proposal. An accepted proposal becomes the job's amount.

    Raises Forbidden if the caller made the proposal, NotFound if the proposal is not the job's last one,
    IllegalTransition if the proposal already has another answer or is void, and the other errors of ``propose_price``.
    """
    if not is_id(proposal):
        raise NotFound("No such proposal")
    _require_party_role(caller)
    context = new_context(engine, caller, job_id, f"price_{answer}", [proposal, version], key, trace)
    try:
        return await _run_script(engine, context, "price_answer", version, {"id": proposal, "answer": answer}, answer)
    except Forbidden as error:
        raise Forbidden("Only the other side can answer", repeated=error.repeated) from error


def _require_party_role(caller: Principal) -> None:
    if caller.role not in ("customer", "technician"):
        raise Forbidden("The price is between the customer and the technician")


async def _run_script(
    engine: Engine,
    context: CommandContext,
    script: str,
    version: int | None,
    args: dict[str, str | int | bytes],
    status: str,
) -> PriceOutcome:
    names = context.script_keys()
    if script == "price_propose":
        del names["offers"]
    args |= {"actor": context.actor, **context.common_arguments(version)}

    async def run_with_blueprint(blueprint: Blueprint) -> PriceOutcome:
        states, audience = f" {' '.join(blueprint.price.propose)} ", blueprint.audience(EVENT_OF_STATUS[status])
        script_args = {**args, "bp": blueprint.key, "states": states, "audience": audience}
        if script == "price_answer":
            script_args["payment_audience"] = blueprint.audience("payment.requested")
            script_args["captures"] = payments.capture_plans(engine, blueprint)
        try:
            done = await engine.store.run(context.zone, script, keys=names, args=script_args)
        except VersionConflict as error:
            error.extra["job"] = msgspec.Raw(await jobs.read_current_job(engine, context))
            raise
        return await _price_outcome(engine, context, blueprint, done)

    return await run_with_own_blueprint(engine, context, run_with_blueprint)


async def _price_outcome(
    engine: Engine, context: CommandContext, blueprint: Blueprint, reply: ScriptReply
) -> PriceOutcome:
    members = await in_redis.read_payload_members(engine, context.zone, reply.seq)
    job = await jobs.changed_view(engine, context.caller, blueprint, bytes(members["job"]))
    return PriceOutcome(members["proposal"], job, reply.version, reply.repeated, context.key)
