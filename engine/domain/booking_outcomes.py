"""What a booking returns: the job that it created, or the job that an earlier request created."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from engine.blueprint.schema import Blueprint
from engine.domain import job_queries, jobs, rooms
from engine.errors import Internal, NotFound, NotMember, Unavailable
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome
from engine.rules import job_document
from engine.store.connection import ScriptReply
from engine.types import IdempotencyKey, JobId, Principal, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

RECEIVED_TEXT = "Booking received"


async def repeated_outcome(
    engine: Engine, zone: Zone, caller: Principal, blueprint: Blueprint, reply: ScriptReply, key: IdempotencyKey
) -> Outcome:
    """Return the outcome of a repeated booking: that of the first request with this key, or the job that has the
    booking's reference already (the script's reply then has a second value).
    """
    at_seq = None if len(reply.values) > 1 else await in_redis.job_at_event(engine, zone, reply)
    if at_seq is None:
        return await earlier_job_outcome(engine, caller, JobId(reply.values[0].decode()), key)
    return await booking_outcome(engine, blueprint, caller, at_seq, reply, key)


async def booking_outcome(
    engine: Engine, blueprint: Blueprint, caller: Principal, job: bytes, reply: ScriptReply, key: str
) -> Outcome:
    """Return the outcome of a booking: ``job`` is the job's JSON in the event of the reply."""
    view = await jobs.changed_view(engine, caller, blueprint, job)
    room = await _room_of_booking(engine, caller, view) if reply.repeated else None
    return Outcome(view, RECEIVED_TEXT, reply.seq, reply.version, reply.repeated, key, room=room)


async def _room_of_booking(engine: Engine, caller: Principal, job: msgspec.Raw) -> msgspec.Raw | None:
    """Return the chat room of a job that was booked before, as it is now. None if there is no room for the caller, or
    if it cannot be read now: the reply must not fail because of the room.
    """
    room = job_document.decode_job(job).room
    if room is not None and may_see_room(caller):
        with suppress(NotFound, NotMember, Unavailable):
            return msgspec.Raw(await rooms.read_room(engine, caller, room))
    return None


async def earlier_job_outcome(engine: Engine, caller: Principal, job: JobId, key: str) -> Outcome:
    """Return the outcome of a booking whose reference an earlier job has: that job, as it is now."""
    try:
        shown = await job_queries.read_job(engine, caller, job)
    except NotFound as error:
        raise Internal(f"{job} has a reference and is in neither database") from error
    version = job_document.decode_job(shown).version
    room = await _room_of_booking(engine, caller, msgspec.Raw(shown))
    return Outcome(msgspec.Raw(shown), None, 0, version, True, key, created=False, room=room)


def may_see_room(caller: Principal) -> bool:
    """Return whether the caller of a booking may read the job's room: its customer is a member, and ops read all."""
    return caller.role == "customer" or caller.is_ops
