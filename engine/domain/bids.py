"""Bids: technicians offer to do a job for a price, and its customer accepts one.

They live in Redis as long as their job does, each technician's latest one: who withdrew may bid again. The scripts end
them in the step that ends their job's taking of bids (lua/lib/bid_close.lua). Afterwards the archive has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select

from engine.blueprint.compiler import Plan
from engine.blueprint.schema import Blueprint, Does
from engine.domain import job_queries, jobs
from engine.domain.commands import CommandContext
from engine.domain.job_queries import Page
from engine.errors import AtCapacity, FieldError, Forbidden, Indeterminate, Invalid, NotFound, VersionConflict
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome, located
from engine.sql.schema import bids as bid_rows
from engine.store import keys
from engine.store.connection import Done
from engine.technicians.live import lease_ms
from engine.types import JobId, Principal, TechnicianId, is_id, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MOST = 200
"""How many technicians may bid for one job: a customer does not read more, and each is told how it ended."""
KEEPS_BACK = "Its technician cannot take this job now"


class Bidding(msgspec.Struct, frozen=True):
    """What a command about a bid came to: ``bid`` is JSON, ``key`` the request key it was done under."""

    bid: msgspec.Raw
    message: str | None
    repeated: bool
    key: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is bid: ``amount`` in minor units of the job's currency, None for what the customer offers; ``version`` is
    that of the job which the caller has read.
    """

    amount: int | None = None
    note: str | None = None
    version: int | None = None


class _WithBid(msgspec.Struct):
    bid: msgspec.Raw


class _Bid(msgspec.Struct):
    id: str
    created_at: str


_with_bid = msgspec.json.Decoder(_WithBid)
_bid = msgspec.json.Decoder(_Bid)


async def create(
    engine: Engine, caller: Principal, job_id: str, wanted: Wanted, *, key: str | None = None, trace: str = ""
) -> Bidding:
    """Bid for a job that takes bids.

    Raises Forbidden for who is no technician; as a claim, for one who is not fit; NotFound for one without the service
    or whom the customer avoids; IllegalTransition, Expired or Frozen, from where no bids are taken; NotOffered for one
    who held the job and left, Duplicate where he has an open bid, AtCapacity beyond ``MOST``, VersionConflict with the
    present job, ReusedKey.
    """
    if caller.role != "technician":
        raise Forbidden("Only technicians bid")
    ask = _ask(engine, caller, job_id, "bid", key, trace, wanted.amount, wanted.note, wanted.version)
    name = new_id("bid")

    async def act(blueprint: Blueprint) -> Bidding:
        plan = await _plan(engine, ask, blueprint, "bid")
        zone, me = ask.zone, TechnicianId(caller.id)
        names = _keys(ask) | {"offers": keys.offers(zone, ask.job), "tech": keys.technician(zone, me)}
        args = {
            "technician": me,
            **_head(ask, wanted.version, blueprint, plan),
            "bid": name,
            "amount": "-" if wanted.amount is None else wanted.amount,
            "note": msgspec.json.encode(wanted.note),
            "most": MOST,
            **_lasting(engine, blueprint),
        }
        try:
            done = await engine.store.run(zone, "bid_create", keys=names, args=args)
        except AtCapacity as error:
            raise AtCapacity(f"It has {MOST} bids", repeated=error.repeated) from error
        except VersionConflict as error:
            raise await _with_job(engine, ask, error) from error
        return await _bidding(engine, ask, plan, done)

    return await jobs.by_blueprint(engine, act)


async def withdraw(
    engine: Engine,
    caller: Principal,
    job_id: str,
    bid: str,
    *,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> Bidding:
    """Take the caller's bid back; again changes nothing. Raises Forbidden, NotFound for what is not his present bid,
    IllegalTransition where it is closed or was accepted, Frozen, VersionConflict with the present job, ReusedKey.
    """
    if caller.role != "technician":
        raise Forbidden("Only technicians bid")
    ask = _ask(engine, caller, job_id, "withdraw", key, trace, _named(bid), version)

    async def act(blueprint: Blueprint) -> Bidding:
        plan, zone = await _plan(engine, ask, blueprint, "withdraw"), ask.zone
        args = {"technician": caller.id, **_head(ask, version, blueprint, plan), "bid": bid}
        try:
            done = await engine.store.run(zone, "bid_withdraw", keys=_keys(ask), args=args)
        except VersionConflict as error:
            raise await _with_job(engine, ask, error) from error
        return await _bidding(engine, ask, plan, done)

    return await jobs.by_blueprint(engine, act)


async def accept(
    engine: Engine,
    caller: Principal,
    job_id: str,
    bid: str,
    *,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> Outcome:
    """Give the job to the technician of a bid, at its amount if the job is flat; all other bids are declined.

    Raises Forbidden for who is no customer, NotFound for another's job and for what is no bid of it; IllegalTransition
    where the bid is not open or the job takes none, Expired, Frozen; Invalid at ``/bid`` and AtCapacity where its
    technician may not or cannot take the job any more; VersionConflict with the present job, ReusedKey.
    """
    if caller.role != "customer":
        raise Forbidden("Only its customer accepts a bid")
    ask = _ask(engine, caller, job_id, "award", key, trace, _named(bid), version)

    async def act(blueprint: Blueprint) -> Outcome:
        plan, zone = await _plan(engine, ask, blueprint, "award"), ask.zone
        names = ask.keys() | {"bids": keys.bids(zone, ask.job)}
        args = {"bid": bid, "actor": ask.actor, **_head(ask, version, blueprint, plan)}
        args |= {"audience": blueprint.audience("bid.accepted"), **_lasting(engine, blueprint)}
        try:
            done = await engine.store.run(zone, "bid_accept", keys=names, args=args)
        except AtCapacity as error:
            raise AtCapacity("Its technician holds as many jobs as he may", repeated=error.repeated) from error
        except Invalid as error:
            if type(error) is not Invalid:
                raise
            raise Invalid(errors=[FieldError("/bid", KEEPS_BACK)], repeated=error.repeated) from error
        except VersionConflict as error:
            raise await _with_job(engine, ask, error) from error
        return await jobs.outcome(engine, ask, blueprint, plan, done)

    return await jobs.by_blueprint(engine, act)


async def find(engine: Engine, caller: Principal, job_id: str) -> Page:
    """The bids for a job, the first one first: a technician's own, all of them for others who may see the job.

    Raises NotFound for who may not, and for whom it is not there.
    """
    zone, job = located(job_id)
    await job_queries.read(engine, caller, job_id)
    own = caller.id if caller.role == "technician" else ""
    try:
        names = {"meta": keys.meta(zone), "job": keys.job(zone, job), "bids": keys.bids(zone, job)}
        done = await engine.store.read(zone, "bid_list", keys=names, args={"technician": own})
    except NotFound:
        return Page(await _archived(engine, job, own), None)
    as_of: dict[str, str | int] = {"epoch": engine.store.zones[zone].epoch, "seq": done.seq}
    return Page(sorted(done.rest, key=place), None, {zone: as_of})


def place(bid: bytes) -> tuple[str, str]:
    """Where a bid stands in a list."""
    found = _bid.decode(bid)
    return found.created_at, found.id


async def _archived(engine: Engine, job: JobId, own: str) -> list[bytes]:
    query = select(bid_rows.c.doc).where(bid_rows.c.job == job)
    if own:
        query = query.where(bid_rows.c.technician == own)
    async with engine.archive.reading() as conn:
        docs = (await conn.execute(query.order_by(bid_rows.c.created_at, bid_rows.c.id))).scalars()
    return [doc.encode() for doc in docs]


def _ask(
    engine: Engine, caller: Principal, job_id: str, verb: str, key: str | None, trace: str, *arguments: object
) -> CommandContext:
    zone, job = located(job_id)
    fingerprint = in_redis.fingerprint(engine, verb, job, arguments)
    return CommandContext(zone, job, caller, in_redis.checked_key(key), fingerprint, trace)


def _named(bid: str) -> str:
    if not is_id(bid):
        raise NotFound("No such bid")
    return bid


async def _plan(engine: Engine, ask: CommandContext, blueprint: Blueprint, does: Does) -> Plan:
    """The blueprint's command that does this. Raises NotFound where it takes no bids, OtherBlueprint."""
    name = await jobs.command_for(engine, ask.zone, ask.job, blueprint, does)
    plan = engine.plans.of(blueprint, name) if name is not None else None
    if plan is None:
        await jobs.check_blueprint(engine, ask, blueprint)
        raise NotFound("It takes no bids")
    return plan


def _head(ask: CommandContext, version: int | None, blueprint: Blueprint, plan: Plan) -> dict[str, str | int | bytes]:
    """What all scripts of bids are told."""
    return {**ask.head(version), "bp": blueprint.key, "plan": plan.body}


def _lasting(engine: Engine, blueprint: Blueprint) -> dict[str, int]:
    return {"grace_ms": round(blueprint.dispatch.grace_s * 1000), "lease_ms": lease_ms(engine)}


def _keys(ask: CommandContext) -> dict[str, str]:
    """The keys that the scripts of a technician's own bid have in common."""
    zone, job = ask.zone, ask.job
    return {
        "meta": keys.meta(zone),
        "job": keys.job(zone, job),
        "bids": keys.bids(zone, job),
        "log": keys.log(zone),
        "req": ask.request(),
    }


async def _with_job(engine: Engine, ask: CommandContext, error: VersionConflict) -> VersionConflict:
    error.extra["job"] = msgspec.Raw(await jobs.present(engine, ask))
    return error


async def _bidding(engine: Engine, ask: CommandContext, plan: Plan, done: Done) -> Bidding:
    """The answer: the bid as the script gave it, or as it was told when this was done first."""
    if len(done.rest) > 1:
        shown = done.rest[1]
    else:
        data = await in_redis.payload_at(engine, ask.zone, done.seq)
        if data is None:
            raise Indeterminate("Done, but its answer cannot be read any more")
        shown = bytes(_with_bid.decode(data).bid)
    return Bidding(msgspec.Raw(shown), plan.spec.message, done.repeated, ask.key)
