"""Another price than was agreed: one side of a job proposes it, the other accepts or rejects it.

One proposal is open at a time, kept with the job and shown with it to its two sides (engine/domain/job_view.py). It is
to the technician who held the job then: if he leaves, it is void. In which states a price may be proposed is the
blueprint's; once the price is locked there is nothing to propose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from engine.blueprint.schema import Blueprint
from engine.domain import jobs
from engine.domain.commands import CommandContext
from engine.errors import Duplicate, Forbidden, Indeterminate, NotFound, VersionConflict
from engine.idempotency import in_redis
from engine.idempotency.in_redis import located
from engine.store.connection import Done
from engine.types import Principal, is_id, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

Answer = Literal["accepted", "rejected"]
EVENTS: dict[str, str] = {"open": "price.proposed", "accepted": "price.changed", "rejected": "price.rejected"}


class Dealt(msgspec.Struct, frozen=True):
    """What a command about a price came to: JSON of the proposal and of the job as the caller may see it."""

    proposal: msgspec.Raw
    job: msgspec.Raw
    version: int
    repeated: bool
    key: str


class _Told(msgspec.Struct):
    proposal: msgspec.Raw
    job: msgspec.Raw


_told = msgspec.json.Decoder(_Told)


async def propose(
    engine: Engine,
    caller: Principal,
    job_id: str,
    amount: int,
    *,
    reason: str | None = None,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> Dealt:
    """Propose ``amount`` (minor units; by the hour: the rate) to the other side.

    Raises Forbidden for who is no participant by role, NotFound for another's job, IllegalTransition where none may be
    proposed, PriceLocked, Duplicate while one is open, Frozen, VersionConflict with the present job, ReusedKey;
    Unavailable where the job's blueprint is not known here.
    """
    ask = _ask(engine, caller, job_id, "propose", key, trace, amount, reason, version)
    name = new_id("prc")
    text = b"" if reason is None else msgspec.json.encode(reason)
    try:
        return await _deal(
            engine, ask, "price_propose", version, {"id": name, "amount": amount, "reason": text}, "open"
        )
    except Duplicate as error:
        raise Duplicate("A proposal is open: it is answered first", repeated=error.repeated) from error


async def answer(
    engine: Engine,
    caller: Principal,
    job_id: str,
    proposal: str,
    given: Answer,
    *,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> Dealt:
    """Accept the other side's proposal, which then is the job's amount, or reject it.

    Raises Forbidden for who made it, NotFound for what is not the job's last proposal, IllegalTransition where it was
    answered otherwise or is void, and the rest as ``propose``.
    """
    if not is_id(proposal):
        raise NotFound("No such proposal")
    ask = _ask(engine, caller, job_id, given, key, trace, proposal, version)
    try:
        return await _deal(engine, ask, "price_answer", version, {"id": proposal, "answer": given}, given)
    except Forbidden as error:
        raise Forbidden("The other side answers", repeated=error.repeated) from error


def _ask(
    engine: Engine, caller: Principal, job_id: str, verb: str, key: str | None, trace: str, *arguments: object
) -> CommandContext:
    if caller.role not in ("customer", "technician"):
        raise Forbidden("The price is between the customer and the technician")
    zone, job = located(job_id)
    fingerprint = in_redis.fingerprint(engine, f"price_{verb}", job, arguments)
    return CommandContext(zone, job, caller, in_redis.checked_key(key), fingerprint, trace)


async def _deal(
    engine: Engine,
    ask: CommandContext,
    script: str,
    version: int | None,
    args: dict[str, str | int | bytes],
    status: str,
) -> Dealt:
    names = ask.keys()
    del names["offers"]
    args |= {"actor": ask.actor, **ask.head(version)}

    async def act(blueprint: Blueprint) -> Dealt:
        states, told = f" {' '.join(blueprint.price.propose)} ", blueprint.audience(EVENTS[status])
        its = {**args, "bp": blueprint.key, "states": states, "audience": told}
        try:
            done = await engine.store.run(ask.zone, script, keys=names, args=its)
        except VersionConflict as error:
            error.extra["job"] = msgspec.Raw(await jobs.present(engine, ask))
            raise
        return await _dealt(engine, ask, blueprint, done)

    return await jobs.by_blueprint(engine, act)


async def _dealt(engine: Engine, ask: CommandContext, blueprint: Blueprint, done: Done) -> Dealt:
    data = await in_redis.payload_at(engine, ask.zone, done.seq)
    if data is None:
        raise Indeterminate("Done, but its answer cannot be read any more")
    found = _told.decode(data)
    job = await jobs.told(engine, ask.caller, blueprint, bytes(found.job))
    return Dealt(found.proposal, job, done.version, done.repeated, ask.key)
