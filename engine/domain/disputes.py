"""Disputes: a disagreement of the two sides of a job, which a mediator resolves.

The blueprint declares which command freezes a job, and for each outcome the command that thaws it. A frozen job allows
no other step. A job has at most one open dispute; the job's record contains the last dispute.

The mediator who takes a dispute is a member of the job's room until the dispute is resolved, and nobody else resolves
it. Ops may take it from them. A mediator who resolves a dispute that nobody has taken takes it in the same step.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from engine.blueprint.schema import Blueprint
from engine.domain import commands, job_restore, jobs
from engine.domain.commands import CommandInput
from engine.domain.job_queries import Page
from engine.domain.zones import readable_zones
from engine.errors import FieldError, Forbidden, IllegalTransition, Invalid, NotFound
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome, parse_job_id
from engine.rules import sort_keys
from engine.store import keys
from engine.store.scripts import Args
from engine.types import OPS, JobId, Principal, UserId, Zone, room_of, zone_of_dispute

if TYPE_CHECKING:
    from engine.runtime import Engine

BATCH_SIZE = 200
"""How many jobs one script call examines for a list: of all frozen jobs, or of the caller's jobs."""


log = structlog.get_logger(__name__)


class DisputeOutcome(msgspec.Struct, frozen=True):
    """The outcome of a command about a dispute: JSON of the dispute, and the outcome of the job's step."""

    dispute: msgspec.Raw
    outcome: Outcome


class TakeOutcome(msgspec.Struct, frozen=True):
    """The outcome of taking a dispute: JSON of the dispute, and of the job's room, if it has an open one."""

    dispute: msgspec.Raw
    room: msgspec.Raw | None
    seq: int
    repeated: bool
    key: str


async def open_dispute(
    engine: Engine, caller: Principal, job_id: str, reason: str, *, key: str | None = None, trace: str = ""
) -> DisputeOutcome:
    """Open a dispute. The dispute freezes the job, and mediators may then read the job.

    Raises Forbidden if the caller's relation to the job never allows it, NotFound if the caller may not see the job,
    IllegalTransition if the blueprint allows no dispute in this state, Frozen while a dispute is open, ReusedKey.
    """
    zone, job = parse_job_id(job_id)
    blueprint = await job_restore.run_with_restored_job(
        engine, caller, zone, job, lambda: jobs.read_blueprint(engine, zone, job)
    )
    name = await jobs.find_command(engine, zone, job, blueprint, "freeze")
    if name is None:
        await _check_is_party(engine, caller, zone, job)
        raise IllegalTransition("Jobs of this kind have no disputes")
    done = await jobs.run_command(
        engine, caller, job_id, CommandInput(command=name, reason=reason), key=key, trace=trace
    )
    return DisputeOutcome(await _dispute_of_outcome(engine, zone, done), done)


async def resolve_dispute(
    engine: Engine,
    caller: Principal,
    dispute_id: str,
    outcome: str,
    *,
    note: str | None = None,
    key: str | None = None,
    trace: str = "",
) -> DisputeOutcome:
    """Resolve a dispute; the job continues by the command for this outcome.

    Raises Forbidden, NotFound, Invalid for an outcome that the job's blueprint does not have, IllegalTransition if the
    dispute is already resolved, Taken if another user has taken it, ReusedKey.
    """
    zone, job = await _find_job(engine, dispute_id)
    blueprint = await _read_blueprint(engine, caller, zone, job)
    name = await jobs.find_command(engine, zone, job, blueprint, "thaw", resolves=outcome)
    if name is None:
        outcomes = sorted({spec.resolves for spec in blueprint.commands.values() if spec.resolves})
        raise Invalid(errors=[FieldError("/outcome", f"Not one of {', '.join(outcomes)}")])
    step = CommandInput(command=name, reason=note, dispute=dispute_id)
    mediator = msgspec.structs.replace(caller, role="mediator") if caller.is_ops else caller
    try:
        done = await jobs.run_command(engine, mediator, job, step, key=key, trace=trace)
    except NotFound as error:  # a mediator cannot see a job that is not frozen
        raise IllegalTransition("The dispute is already resolved", repeated=error.repeated) from error
    return DisputeOutcome(await _dispute_of_outcome(engine, zone, done), done)


async def take_dispute(
    engine: Engine, caller: Principal, dispute_id: str, *, key: str | None = None, trace: str = ""
) -> TakeOutcome:
    """Make the caller the mediator of an open dispute, and a member of the job's room. Ops take it from a mediator.

    Raises Forbidden if the caller is neither a mediator nor ops, NotFound, IllegalTransition if the dispute is already
    resolved, Taken if another user has taken it, ReusedKey.
    """
    if caller.role != "mediator" and not caller.is_ops:
        raise Forbidden("Only mediators take disputes")
    zone, job = await _find_job(engine, dispute_id)
    blueprint = await _read_blueprint(engine, caller, zone, job)
    context = commands.new_context(engine, caller, job, "take_dispute", dispute_id, key, trace)
    names = {name: of for name, of in context.script_keys().items() if name != "offers"}
    who: Args = {"user": caller.id, "role": caller.role, "name": msgspec.json.encode(caller.name)}
    args: Args = {**who, "dispute": dispute_id, "replaces": int(caller.is_ops), "bp": blueprint.key}
    done = await engine.store.run(zone, "dispute_take", keys=names, args={**args, **context.request_arguments()})
    _, dispute, room = done.values
    return TakeOutcome(msgspec.Raw(dispute), msgspec.Raw(room) if room else None, done.seq, done.repeated, context.key)


async def take_at_join(engine: Engine, caller: Principal, zone: Zone, job: JobId, *, trace: str = "") -> None:
    """Let a mediator who joins the room of a job take its open dispute. Nothing happens if there is none, or if another
    mediator has taken it and the caller is a member of the room already.

    Raises Taken if another mediator has taken it and the caller is no member.
    """
    frozen, mediator = await engine.store.command("HMGET", keys.job(zone, job), "frozen", "mediator")
    if not frozen or mediator == f"{caller.role}:{caller.id}".encode():
        return
    if mediator and await engine.store.command("HEXISTS", keys.room(zone, room_of(job)), f"m:{caller.id}"):
        return
    try:
        await take_dispute(engine, caller, frozen.decode(), trace=trace)
    except (IllegalTransition, NotFound):
        log.debug("dispute_not_taken", job=job, user=caller.id)


async def _read_blueprint(engine: Engine, caller: Principal, zone: Zone, job: JobId) -> Blueprint:
    """Return the blueprint of a job with a dispute. Raises IllegalTransition if Redis has evicted the job: then it is
    finished, and so is its dispute. A caller who may not see the dispute gets NotFound instead.
    """
    try:
        return await jobs.read_blueprint(engine, zone, job)
    except NotFound as error:
        if caller.role != "mediator" and not caller.is_ops:
            raise
        raise IllegalTransition("The dispute is already resolved") from error


async def _find_job(engine: Engine, dispute_id: str) -> tuple[Zone, JobId]:
    """Return zone and job of a dispute. Raises NotFound."""
    zone = zone_of_dispute(dispute_id)
    stored = zone and await engine.store.command("GET", keys.dispute(zone, dispute_id))
    if zone is None or not stored:
        raise NotFound("No such dispute")
    return zone, JobId(stored.decode())


async def find_disputes(engine: Engine, caller: Principal) -> Page:
    """Return the open disputes, the newest first. Mediators and ops receive all disputes, customers and technicians
    their own.

    Raises Forbidden for other roles.
    """
    zones = readable_zones(engine)
    parts = await asyncio.gather(*(_disputes_of_zone(engine, caller, zone) for zone in zones))
    items = sorted((each for _, documents in parts for each in documents), key=sort_keys.dispute_key, reverse=True)
    as_of: dict[str, dict[str, str | int]] = {
        zone: {"epoch": engine.store.zones[zone].epoch, "seq": seq} for zone, (seq, _) in zip(zones, parts, strict=True)
    }
    return Page(items, None, as_of)


async def _disputes_of_zone(engine: Engine, caller: Principal, zone: Zone) -> tuple[int, set[bytes]]:
    """Return the open disputes of a zone and a seq of the log: the list contains all changes up to this seq, and
    possibly later changes.
    """
    names = {"meta": keys.zone_meta(zone), "index": _dispute_index_key(caller, zone)}
    below, seq, documents = "+inf", 0, set[bytes]()
    while True:
        done = await engine.store.read(zone, "dispute_list", keys=names, args={"below": below, "limit": BATCH_SIZE})
        looked, last, *disputes = done.values
        seq, documents = seq or done.seq, documents.union(disputes)
        if int(looked) < BATCH_SIZE or last.decode() == below:
            return seq, documents
        below = last.decode()


def _dispute_index_key(caller: Principal, zone: Zone) -> str:
    if caller.role == "mediator" or caller.role in OPS:
        return keys.disputes(zone)
    if caller.role in ("customer", "technician"):
        return keys.user_jobs(zone, UserId(caller.id))
    raise Forbidden("Disputes are between a customer, a technician and a mediator")


async def _check_is_party(engine: Engine, caller: Principal, zone: Zone, job: JobId) -> None:
    """Raise NotFound if the caller is neither the customer nor the technician of the job."""
    customer, holder = await engine.store.command("HMGET", keys.job(zone, job), "customer", "holder")
    if caller.id.encode() not in (customer, holder):
        raise NotFound("No such job")


async def _dispute_of_outcome(engine: Engine, zone: Zone, outcome: Outcome) -> msgspec.Raw:
    members = await in_redis.read_payload_members(engine, zone, outcome.seq)
    return members["dispute"]
