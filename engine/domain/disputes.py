"""Disputes: what the two sides of a job could not settle themselves, and a mediator does.

Which command freezes a job and which ones thaw it, each for an outcome, is its blueprint's. Until then nothing else
happens to it. One dispute about a job is open at a time; the job's record holds the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.domain import jobs
from engine.domain.commands import Step
from engine.domain.job_queries import Page
from engine.errors import FieldError, Forbidden, IllegalTransition, Indeterminate, Invalid, NotFound
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome, located
from engine.store import keys
from engine.types import OPS, JobId, Principal, UserId, Zone, zone_of_dispute

if TYPE_CHECKING:
    from engine.runtime import Engine

PART = 200
"""How many jobs a script looks at for a list: of all that are frozen, or of the caller's."""


class Disputed(msgspec.Struct, frozen=True):
    """What a command about a dispute came to: its JSON, and the outcome of the step that it was."""

    dispute: msgspec.Raw
    done: Outcome


class _Told(msgspec.Struct):
    dispute: msgspec.Raw


class _Place(msgspec.Struct):
    opened_at: str
    id: str


_told = msgspec.json.Decoder(_Told)
_place = msgspec.json.Decoder(_Place)


async def create(
    engine: Engine, caller: Principal, job_id: str, reason: str, *, key: str | None = None, trace: str = ""
) -> Disputed:
    """Open a dispute: the job is frozen, and mediators may read it.

    Raises Forbidden for who may never, NotFound for another's job, IllegalTransition where its blueprint has no dispute
    in this state, Frozen while one is open, ReusedKey.
    """
    zone, job = located(job_id)
    blueprint = await jobs.blueprint_of(engine, zone, job)
    name = await jobs.command_for(engine, zone, job, blueprint, "freeze")
    if name is None:
        await _must_know(engine, caller, zone, job)
        raise IllegalTransition("There are no disputes about such jobs")
    done = await jobs.command(engine, caller, job_id, Step(command=name, reason=reason), key=key, trace=trace)
    return Disputed(await _dispute(engine, zone, done), done)


async def resolve(
    engine: Engine,
    caller: Principal,
    dispute_id: str,
    outcome: str,
    *,
    note: str | None = None,
    key: str | None = None,
    trace: str = "",
) -> Disputed:
    """Settle a dispute; the job goes on as the outcome says.

    Raises Forbidden, NotFound, Invalid for an outcome that the job's blueprint does not have, IllegalTransition for a
    dispute that is resolved already, ReusedKey.
    """
    zone = zone_of_dispute(dispute_id)
    found = zone and await engine.store.command("GET", keys.dispute(zone, dispute_id))
    if zone is None or not found:
        raise NotFound("No such dispute")
    job = JobId(found.decode())
    blueprint = await jobs.blueprint_of(engine, zone, job)
    name = await jobs.command_for(engine, zone, job, blueprint, "thaw", resolves=outcome)
    if name is None:
        outcomes = sorted({spec.resolves for spec in blueprint.commands.values() if spec.resolves})
        raise Invalid(errors=[FieldError("/outcome", f"Not one of {', '.join(outcomes)}")])
    step = Step(command=name, reason=note, dispute=dispute_id)
    try:
        done = await jobs.command(engine, caller, job, step, key=key, trace=trace)
    except NotFound as error:  # what is not frozen is not there for a mediator
        raise IllegalTransition("It is resolved already", repeated=error.repeated) from error
    return Disputed(await _dispute(engine, zone, done), done)


async def find(engine: Engine, caller: Principal) -> Page:
    """The open disputes, the newest first: all of them for mediators and ops, their own for the two sides.

    Raises Forbidden for others.
    """
    items: list[bytes] = []
    as_of: dict[str, dict[str, str | int]] = {}
    for zone, state in engine.store.zones.items():
        seq, found = await _of_zone(engine, caller, zone)
        items += sorted(found, key=place, reverse=True)
        as_of[zone] = {"epoch": state.epoch, "seq": seq}
    return Page(items, None, as_of)


async def _of_zone(engine: Engine, caller: Principal, zone: Zone) -> tuple[int, set[bytes]]:
    """The open disputes of a zone, with the seq that they are at least as of."""
    names = {"meta": keys.meta(zone), "index": _index(caller, zone)}
    below, seq, found = "+inf", 0, set[bytes]()
    while True:
        done = await engine.store.read(zone, "dispute_list", keys=names, args={"below": below, "limit": PART})
        looked, last, *disputes = done.rest
        seq, found = seq or done.seq, found.union(disputes)
        if int(looked) < PART or last.decode() == below:
            return seq, found
        below = last.decode()


def place(dispute: bytes) -> tuple[str, str]:
    """Where a dispute stands in a list."""
    found = _place.decode(dispute)
    return found.opened_at, found.id


def _index(caller: Principal, zone: Zone) -> str:
    if caller.role == "mediator" or caller.role in OPS:
        return keys.disputes(zone)
    if caller.role in ("customer", "technician"):
        return keys.user_jobs(zone, UserId(caller.id))
    raise Forbidden("Disputes are between a customer, a technician and a mediator")


async def _must_know(engine: Engine, caller: Principal, zone: Zone, job: JobId) -> None:
    """Raises NotFound for who is neither side of the job."""
    customer, holder = await engine.store.command("HMGET", keys.job(zone, job), "customer", "holder")
    if caller.id.encode() not in (customer, holder):
        raise NotFound("No such job")


async def _dispute(engine: Engine, zone: Zone, done: Outcome) -> msgspec.Raw:
    data = await in_redis.payload_at(engine, zone, done.seq)
    if data is None:
        raise Indeterminate("Done, but its answer cannot be read any more")
    return _told.decode(data).dispute
