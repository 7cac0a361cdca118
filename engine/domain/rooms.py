"""Chat rooms: each job has at most one, whose members are the two sides of the job and the staff whom ops bring in.

lua/lib/room_step.lua opens, changes and closes a room in the steps of its job. A member reads the messages with numbers
above their ``from_n``. messages.py says and reads messages, room_members.py brings staff in and lets them
go, room_list.py lists rooms. Where Redis no longer has a room, archived_rooms.py answers from SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from engine.archive import room_reader
from engine.domain import archived_rooms, disputes
from engine.errors import FieldError, Invalid, NotFound, NotMember
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Principal, RoomId, UserId, Zone, job_of_room, zone_of_room

if TYPE_CHECKING:
    from engine.runtime import Engine

MESSAGES_AT_JOIN = 50
"""How many of the last messages the reply to ``join_room`` has."""

log = structlog.get_logger(__name__)


class JoinOutcome(msgspec.Struct, frozen=True):
    """The room as JSON and its last messages, the oldest first. ``seq`` is a seq of the log up to which both are
    current.
    """

    room: msgspec.Raw
    messages: list[msgspec.Raw]
    seq: int


class ReadMark(msgspec.Struct, frozen=True):
    """The number up to which a member has read; ``seq`` is a seq of the log up to which it is current."""

    n: int
    seq: int


def parse_room_id(room_id: str) -> tuple[Zone, RoomId]:
    """Return zone and id of a room. Raises NotFound if the text cannot be a room's id."""
    zone = zone_of_room(room_id)
    if zone is None:
        raise NotFound("No such room")
    return zone, RoomId(room_id)


def actor_of(caller: Principal) -> str:
    """Return ``role:id`` of the caller: the form in which events name who caused them."""
    return f"{caller.role}:{caller.id}"


async def join_room(engine: Engine, caller: Principal, room_id: str, *, trace: str = "") -> JoinOutcome:
    """Return a room to a member, with its last messages. At the first join of a membership the members receive
    ``room.joined``. A mediator who joins during a dispute that nobody has taken takes it.

    Raises NotFound, NotMember, Taken if another mediator has taken the dispute.
    """
    zone, room = parse_room_id(room_id)
    if caller.role == "mediator":
        await disputes.take_at_join(engine, caller, zone, job_of_room(room), trace=trace)
    names = {**room_keys(zone, room), "messages": keys.room_messages(zone, room), "log": keys.log(zone)}
    args: Args = {"user": caller.id, "limit": MESSAGES_AT_JOIN, "actor": actor_of(caller), "trace": trace}
    try:
        done = await engine.store.run(zone, "room_join", keys=names, args=args)
    except NotFound:
        return await _join_archived(engine, caller, zone, room)
    document, *messages = done.values
    return JoinOutcome(msgspec.Raw(document), [msgspec.Raw(message) for message in reversed(messages)], done.seq)


async def _join_archived(engine: Engine, caller: Principal, zone: Zone, room_id: RoomId) -> JoinOutcome:
    room = await archived_rooms.read_room(engine, caller, room_id)
    from_n = archived_rooms.from_n_of(room, caller.id)
    found = await room_reader.messages_before(engine.archive, room_id, room.n + 1, from_n, MESSAGES_AT_JOIN)
    document = msgspec.Raw(archived_rooms.view_room(room, caller.id))
    return JoinOutcome(document, [msgspec.Raw(each) for each in reversed(found)], engine.store.zones[zone].seq)


async def mark_read(engine: Engine, caller: Principal, room_id: str, n: int, *, trace: str = "") -> ReadMark:
    """Move the caller's read mark forward to message ``n``; a higher mark stays. The members receive ``room.read`` at
    most once a second for each reader.

    Raises NotFound, NotMember, Invalid at ``/n`` beyond the last message.
    """
    zone, room = parse_room_id(room_id)
    try:
        return await _run_room_mark(engine, zone, room, caller.id, n=n, actor=actor_of(caller), trace=trace)
    except NotFound:
        return ReadMark(await archived_rooms.move_mark(engine, caller, room, n), engine.store.zones[zone].seq)
    except Invalid as error:
        raise Invalid(errors=[FieldError("/n", "Beyond the last message")]) from error


async def tell_read_mark(engine: Engine, zone: Zone, entry: str, room: RoomId, user: UserId) -> None:
    """Send a member's read mark to the members of the room. It was delayed because it came less than a second after
    their previous mark. ``entry`` is the scheduled task that sends it.
    """
    try:
        await _run_room_mark(engine, zone, room, user, entry=entry)
    except (NotFound, NotMember):
        log.debug("read_mark_not_told", room=room, user=user)


async def _run_room_mark(
    engine: Engine,
    zone: Zone,
    room: RoomId,
    user: UserId,
    *,
    n: int = 0,
    entry: str = "",
    actor: str = "engine",
    trace: str = "",
) -> ReadMark:
    """Run lua/room_mark.lua, for a member or, with ``entry``, for a scheduled task."""
    names = {**room_keys(zone, room), "read": keys.room_reads(zone, room)}
    names |= {"due": keys.due_tasks(zone), "log": keys.log(zone)}
    args: Args = {"user": user, "n": n, "entry": entry, "actor": actor, "trace": trace}
    done = await engine.store.run(zone, "room_mark", keys=names, args=args)
    return ReadMark(int(done.values[0]), done.seq)


async def close_room(engine: Engine, zone: Zone, entry: str, room: RoomId) -> None:
    """Close the room of a job that ended some time ago, or let Redis remove a room that is closed already. ``entry`` is
    the scheduled task.
    """
    names = {**room_keys(zone, room), "job": keys.job(zone, job_of_room(room))}
    names |= {"due": keys.due_tasks(zone), "log": keys.log(zone)}
    args: Args = {"entry": entry, "window_ms": round(engine.settings.log_window_s * 1000)}
    await engine.store.run(zone, "room_close", keys=names, args=args)


async def read_room(engine: Engine, caller: Principal, room_id: str) -> bytes:
    """Return a room as JSON, as the caller sees it. Ops may read every room.

    Raises NotFound, NotMember.
    """
    zone, room = parse_room_id(room_id)
    document, is_member = await _read_room_and_membership(engine, caller, zone, room, is_staff=caller.is_ops)
    record_staff_read(engine, caller, room, is_member=is_member)
    return document


async def read_own_room(engine: Engine, caller: Principal, room_id: str) -> bytes:
    """Return a room as JSON to one of its members, of any role. Raises NotFound, NotMember."""
    zone, room = parse_room_id(room_id)
    document, _ = await _read_room_and_membership(engine, caller, zone, room, is_staff=False)
    return document


async def _read_room_and_membership(
    engine: Engine, caller: Principal, zone: Zone, room: RoomId, *, is_staff: bool
) -> tuple[bytes, bool]:
    """Return a room as JSON and whether the caller is a member, from Redis or SQL."""
    args: Args = {"user": caller.id, "staff": int(is_staff)}
    try:
        document, is_member = (await engine.store.read(zone, "room_read", keys=room_keys(zone, room), args=args)).values
    except NotFound:
        archived = await archived_rooms.read_room(engine, caller, room, is_staff=is_staff)
        return archived_rooms.view_room(archived, caller.id), caller.id in archived.members
    return document, is_member == b"1"


def record_staff_read(engine: Engine, caller: Principal, room: RoomId, *, is_member: bool) -> None:
    """Record that staff who are no member read a room (engine/identity/audit_events.py)."""
    if not is_member:
        engine.staff_reads.note("room_read", caller, room)
        log.info("room_read_by_staff", room=room, user=caller.id, role=caller.role)


def room_keys(zone: Zone, room: RoomId) -> dict[str, str]:
    """Return the Redis keys that every script about a room takes, by their names in the script."""
    return {"meta": keys.zone_meta(zone), "room": keys.room(zone, room)}
