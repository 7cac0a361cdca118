"""Steps of a job: claim, decline, cancel and whatever else its blueprint declares.

Which states, target and audience a step has is the blueprint's, and which blueprint a job has only its record
knows. Reading it first would cost every claim a round trip: so the default blueprint's plan is sent along, the
script compares, and where the job is of another the step is sent once more with the right one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from engine.blueprint import registry
from engine.blueprint.compiler import Plan
from engine.blueprint.schema import Blueprint, Does, Relation, relations
from engine.clock import now_ms
from engine.domain import commands, job_view
from engine.domain.commands import CommandContext, Step
from engine.errors import FieldError, Forbidden, Invalid, NotFound, OtherBlueprint, Unavailable, VersionConflict
from engine.events import ms_of
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_redis import Outcome, located
from engine.rules import job_document
from engine.rules.job_document import JobView
from engine.store import keys
from engine.store.connection import Done
from engine.types import OPS, JobId, Principal, Role, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

T = TypeVar("T")

ROUTES_OF_THEIR_OWN = {
    "bid": "POST /v1/jobs/{id}/bids",
    "withdraw": "POST /v1/jobs/{id}/bids/{bid}/withdraw",
    "award": "POST /v1/jobs/{id}/bids/{bid}/accept",
    "capture": "POST /v1/jobs/{id}/payments",
}
"""What needs more than a step's arguments is given there."""


ALSO_CALLED = {"claim": "accept"}
"""`claim` and `respond` are everywhere the way to say yes, whatever the blueprint calls it."""


WHOLE: frozenset[Role] = OPS | {"customer", "mediator", "service"}
"""Roles that see all of each job of which they see anything."""


def sees_whole(caller: Principal, job: JobView) -> bool:
    """Whether somebody who may see anything of the job may see all of it: of technicians only its holder may, once they
    have accepted.
    """
    if caller.role in WHOLE:
        return True
    if caller.role != "technician":
        return False
    return job.holder_id == caller.id and not job.asked


def as_seen(caller: Principal, job: bytes) -> bytes:
    """The whole job as it was at some time, or its public part, as its document says what the caller was then."""
    view = job_document.view(job)
    if view.customer is None or sees_whole(caller, view):
        return job
    return job_document.public_part(job, holder=view.holder_id == caller.id)


def is_early(job: JobView, blueprint: Blueprint) -> bool:
    """Whether the job's time is so far off that work on it cannot begin."""
    return job.scheduled_for is not None and blueprint.is_early(ms_of(job.scheduled_for), now_ms())


async def claim(
    engine: Engine,
    caller: Principal,
    job_id: str,
    *,
    key: str | None = None,
    version: int | None = None,
    trace: str = "",
) -> Outcome:
    """Take an offered job. Of all who try at once exactly one is told that it is his.

    Raises Forbidden for who is no technician, and the refusals of PROTOCOL §3 in its order.
    """
    return await command(engine, caller, job_id, Step(command="claim", version=version), key=key, trace=trace)


async def command(
    engine: Engine,
    caller: Principal,
    job_id: str,
    step: Step,
    *,
    key: str | None = None,
    trace: str = "",
) -> Outcome:
    """Take one step of the job's blueprint.

    Raises NotFound for strangers and for commands that the blueprint does not have, Forbidden for a role that may
    never give it, IllegalTransition (or the job's own answer: taken, cancelled, expired) from another state,
    VersionConflict with the present job, WrongCode with ``attempts_left``, CodeLocked, Frozen, Invalid for what the
    command needs and was not given, ReusedKey; and whatever ``Store.run`` raises.
    """
    zone, job = located(job_id)
    fingerprint = in_redis.fingerprint(engine, step.command, job, step.arguments())
    ask = CommandContext(zone, job, caller, in_redis.checked_key(key), fingerprint, trace)
    try:
        return await by_blueprint(engine, lambda blueprint: _try(engine, ask, blueprint, step))
    except Invalid:
        await must_know(engine, ask)
        raise


async def must_know(engine: Engine, ask: CommandContext) -> None:
    """Raises NotFound for who may not know of the job: to be told what a request lacks would say that there is one."""
    technician = ask.caller.id if ask.caller.role == "technician" else ""
    names = {"meta": keys.meta(ask.zone), "job": keys.job(ask.zone, ask.job), "offers": keys.offers(ask.zone, ask.job)}
    done = await engine.store.read(ask.zone, "job_read", keys=names, args={"technician": technician})
    if not stands_in(ask.caller, done.rest):
        raise NotFound("No such job")


def stands_in(caller: Principal, found: Sequence[bytes]) -> list[Relation]:
    """How the caller stands to the job that job_read found."""
    full, _, _, _, _, customer, holder, _, offer, bid, bids = found
    return relations(
        caller.role,
        caller.id,
        customer=customer.decode(),
        holder=holder.decode(),
        offered=bool(offer or bid),
        frozen=job_document.view(full).frozen,
        bids=bids == b"1",
    )


async def by_blueprint(engine: Engine, act: Callable[[Blueprint], Awaitable[T]]) -> T:
    """What ``act`` comes to with the job's own blueprint, the default one being tried first.

    Raises Unavailable where the job's is not known here, and whatever ``act`` raises.
    """
    blueprint = engine.blueprints.default
    for _ in range(2):
        try:
            return await act(blueprint)
        except OtherBlueprint as other:
            blueprint = registry.judged(engine.blueprints, other.key)
    raise Unavailable("The job's blueprint is not known here")


async def _try(engine: Engine, ask: CommandContext, blueprint: Blueprint, step: Step) -> Outcome:
    name = step.command if step.command in blueprint.commands else ALSO_CALLED.get(step.command, "")
    plan = engine.plans.of(blueprint, name)
    if plan is None or plan.spec.by == ("engine",):
        await check_blueprint(engine, ask, blueprint)
        raise NotFound(f"No such command: {step.command}")
    if possible(ask.caller.role).isdisjoint(plan.spec.by):
        await check_blueprint(engine, ask, blueprint)
        raise Forbidden(f"A {ask.caller.role} may not {step.command}")
    if plan.spec.does == "assign" and step.technician is None:
        plan = _without(engine, blueprint, ask.caller) or plan
    if plan.spec.does in ROUTES_OF_THEIR_OWN:
        await check_blueprint(engine, ask, blueprint)
        raise Invalid(f"{step.command} is given by {ROUTES_OF_THEIR_OWN[plan.spec.does]}")
    try:
        done = await commands.send(engine, ask, blueprint, plan, step)
    except VersionConflict as error:
        error.extra["job"] = msgspec.Raw(await present(engine, ask))
        raise
    return await outcome(engine, ask, blueprint, plan, done)


def _without(engine: Engine, blueprint: Blueprint, caller: Principal) -> Plan | None:
    """A job taken from its holder and given to nobody by name is offered anew."""
    held = possible(caller.role)
    names = (name for name, spec in blueprint.commands.items() if spec.does == "release" and held & set(spec.by))
    return engine.plans.of(blueprint, next(names, ""))


async def check_blueprint(engine: Engine, ask: CommandContext, blueprint: Blueprint) -> None:
    """Raises OtherBlueprint where the job is there and not of ``blueprint``."""
    found = await engine.store.command("HGET", keys.job(ask.zone, ask.job), "bp")
    if found is not None and found.decode() != blueprint.key:
        raise OtherBlueprint(found.decode())


async def blueprint_of(engine: Engine, zone: Zone, job: JobId) -> Blueprint:
    """The blueprint of a job, for what needs more of it than a step's plan. Raises NotFound where Redis has not the
    job, Unavailable where its blueprint is not known here.
    """
    found = await engine.store.command("HGET", keys.job(zone, job), "bp")
    if found is None:
        raise NotFound("No such job")
    return registry.judged(engine.blueprints, found.decode())


async def command_for(
    engine: Engine, zone: Zone, job: JobId, blueprint: Blueprint, does: Does, *, resolves: str = ""
) -> str | None:
    """The blueprint's command that does this, for routes that do not name one; of several the one from the job's
    present state. Whether it may be given is not decided here.
    """
    named = blueprint.commands.items()
    names = [name for name, spec in named if spec.does == does and spec.resolves == resolves]
    if len(names) > 1:
        status = (await engine.store.command("HGET", keys.job(zone, job), "status") or b"").decode()
        names = [name for name in names if status in blueprint.commands[name].from_] or names
    return names[0] if names else None


POSSIBLE: dict[Role, frozenset[Relation]] = {
    **dict.fromkeys(OPS, frozenset[Relation]({"ops"})),
    "customer": frozenset({"customer"}),
    "technician": frozenset({"offered", "holder", "technician"}),
    "service": frozenset({"service"}),
    "mediator": frozenset({"mediator"}),
}
"""The relations in which somebody of a role can stand to a job; those who are not here can stand in none."""


def possible(role: Role) -> frozenset[Relation]:
    """The relations in which somebody of this role can stand to a job."""
    return POSSIBLE.get(role, frozenset())


async def outcome(engine: Engine, ask: CommandContext, blueprint: Blueprint, plan: Plan, done: Done) -> Outcome:
    """The answer to a step: the job as its event tells it, with what the caller may do next."""
    if len(done.rest) > 1:
        shown = done.rest[1]
    else:
        shown = await in_redis.job_at(engine, ask.zone, done) or await present(engine, ask)
    shown = as_seen(ask.caller, shown)
    # Who has declined a job that takes bids from now on may bid for it.
    bids = plan.spec.does == "refuse" and blueprint.states[job_document.view(shown).status].seeks == "bids"
    contact = done.rest[2].decode() if plan.spec.does == "take" and len(done.rest) > 2 else None
    return await answer(engine, ask, blueprint, shown, done, message=plan.spec.message, bids=bids, contact=contact)


async def answer(
    engine: Engine,
    ask: CommandContext,
    blueprint: Blueprint,
    shown: bytes,
    done: Done,
    *,
    message: str | None = None,
    bids: bool = False,
    contact: str | None = None,
) -> Outcome:
    """What was done to a job, as its caller is told."""
    job = await told(engine, ask.caller, blueprint, shown, bids=bids, contact=contact)
    return Outcome(job, message, done.seq, done.version, done.repeated, ask.key)


async def told(
    engine: Engine,
    caller: Principal,
    blueprint: Blueprint,
    shown: bytes,
    *,
    bids: bool = False,
    contact: str | None = None,
) -> msgspec.Raw:
    """A job to which the caller has just done something, with what ``replies.one`` adds. Raises Indeterminate where
    that cannot be read: it is done.
    """
    names = actions(caller, blueprint, shown, bids=bids)
    with in_sql.unavailable_as_indeterminate():
        return msgspec.Raw(await job_view.one(engine, caller, blueprint, shown, names, contact=contact))


def actions(caller: Principal, blueprint: Blueprint, shown: bytes, *, bids: bool = False) -> list[str]:
    """What its state lets the caller do with a job that he has just done something to; ``bids``: he may bid for it by
    now. An open bid has nobody who took a step.
    """
    job = job_document.view(shown)
    stands = relations(
        caller.role,
        caller.id,
        customer=job.customer_id,
        holder=job.holder_id,
        offered=False,
        frozen=job.frozen,
        bids=bids,
    )
    held, early = job.holder_id != "", is_early(job, blueprint)
    names = blueprint.actions(job.status, stands, at=job.at, frozen=job.frozen, held=held, early=early)
    return [name for name in names if blueprint.commands[name].does != "withdraw"]


async def present(engine: Engine, ask: CommandContext) -> bytes:
    """The job as it is now, as far as a caller who may step may see it."""
    zone, technician = ask.zone, ask.caller.id if ask.caller.role == "technician" else ""
    names = {"meta": keys.meta(zone), "job": keys.job(zone, ask.job), "offers": keys.offers(zone, ask.job)}
    done = await engine.store.read(zone, "job_read", keys=names, args={"technician": technician})
    return done.rest[0] if sees_whole(ask.caller, job_document.view(done.rest[0])) else done.rest[1]


def required(pointer: str, what: str) -> Invalid:
    """The refusal of a step that was not given what it needs."""
    return Invalid(errors=[FieldError(pointer, f"Required: {what}")])
