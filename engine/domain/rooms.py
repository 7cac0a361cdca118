"""Chat rooms: each job has at most one, whose members are the two sides of the job and the staff whom ops bring in.

lua/lib/room_step.lua opens, changes and closes a room in the steps of its job. A member reads the messages with numbers
above their ``from_n``. messages.py says and reads messages, room_members.py brings staff in and lets them go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from engine.domain.job_queries import Page
from engine.errors import FieldError, Invalid, NotFound, NotMember
from engine.events import ms_of
from engine.idempotency import in_redis
from engine.sql.paging import check_limit, decode_cursor, encode_cursor
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Principal, RoomId, UserId, Zone, job_of_room, room_of, zone_of, zone_of_room
from engine.zone import log as zone_log

if TYPE_CHECKING:
    from engine.runtime import Engine

MESSAGES_AT_JOIN = 50
"""How many of the last messages the reply to ``join_room`` has."""
ROOMS_PER_READ = 50
"""How many rooms one script call reads for a list."""

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


class RoomQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query for a list of rooms: the filters and the page."""

    job: str | None = None
    open: bool | None = None
    limit: int = 50
    cursor: str | None = None


class _ListedMessage(msgspec.Struct):
    at: str


class _ListedRoom(msgspec.Struct):
    """The members of a room's JSON by which a list is filtered and sorted."""

    id: str
    job: str
    state: str
    opened_at: str
    last: _ListedMessage | None = None

    @property
    def sort_key(self) -> tuple[int, str]:
        """Return the time (ms) of the room's latest activity that the reader may see, and the room's id."""
        return ms_of(self.last.at if self.last else self.opened_at), self.id


_listed_room_decoder = msgspec.json.Decoder(_ListedRoom)


def parse_room_id(room_id: str) -> tuple[Zone, RoomId]:
    """Return zone and id of a room. Raises NotFound if the text cannot be a room's id."""
    zone = zone_of_room(room_id)
    if zone is None:
        raise NotFound("No such room")
    return zone, RoomId(room_id)


def actor_of(caller: Principal) -> str:
    """Return the caller as events name them."""
    return f"{caller.role}:{caller.id}"


async def join_room(engine: Engine, caller: Principal, room_id: str, *, trace: str = "") -> JoinOutcome:
    """Return a room to a member, with its last messages. At the first join of a membership the members receive
    ``room.joined``.

    Raises NotFound, NotMember.
    """
    zone, room = parse_room_id(room_id)
    names = {**room_keys(zone, room), "messages": keys.room_messages(zone, room), "log": keys.log(zone)}
    args: Args = {"user": caller.id, "limit": MESSAGES_AT_JOIN, "actor": actor_of(caller), "trace": trace}
    done = await engine.store.run(zone, "room_join", keys=names, args=args)
    document, *messages = done.values
    return JoinOutcome(msgspec.Raw(document), [msgspec.Raw(message) for message in reversed(messages)], done.seq)


async def mark_read(engine: Engine, caller: Principal, room_id: str, n: int, *, trace: str = "") -> ReadMark:
    """Move the caller's read mark forward to message ``n``; a higher mark stays. The members receive ``room.read`` at
    most once a second for each reader.

    Raises NotFound, NotMember, Invalid at ``/n`` beyond the last message.
    """
    zone, room = parse_room_id(room_id)
    try:
        return await _run_room_mark(engine, zone, room, caller.id, n=n, actor=actor_of(caller), trace=trace)
    except Invalid as error:
        raise Invalid(errors=[FieldError("/n", "Beyond the last message")]) from error


async def tell_read_mark(engine: Engine, zone: Zone, entry: str, room: RoomId, user: UserId) -> None:
    """Tell the members of a read mark that came less than a second after the one before. ``entry`` is the scheduled
    task.
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
    """Close a room whose time is over, or forget a closed one. ``entry`` is the scheduled task."""
    names = {**room_keys(zone, room), "job": keys.job(zone, job_of_room(room))}
    names |= {"due": keys.due_tasks(zone), "log": keys.log(zone)}
    args: Args = {"entry": entry, "window_ms": round(engine.settings.log_window_s * 1000)}
    await engine.store.run(zone, "room_close", keys=names, args=args)


async def read_room(engine: Engine, caller: Principal, room_id: str) -> bytes:
    """Return a room as JSON, as the caller sees it. Ops may read every room.

    Raises NotFound, NotMember.
    """
    zone, room = parse_room_id(room_id)
    args: Args = {"user": caller.id, "staff": int(caller.is_ops)}
    done = await engine.store.read(zone, "room_read", keys=room_keys(zone, room), args=args)
    document, is_member = done.values
    record_staff_read(caller, room, is_member=is_member == b"1")
    return document


def record_staff_read(caller: Principal, room: RoomId, *, is_member: bool) -> None:
    """Log that staff who are no member read a room."""
    if not is_member:
        log.info("room_read_by_staff", room=room, user=caller.id, role=caller.role)


async def list_rooms(engine: Engine, caller: Principal, query: RoomQuery) -> Page:
    """Return the rooms of which the caller is a member, the latest activity first; to ops also any job's room that
    ``query.job`` names.

    Raises Invalid for a wrong limit or cursor.
    """
    limit = check_limit(query.limit)
    before = decode_cursor(query.cursor, tuple[int, str]) if query.cursor else None
    found: dict[tuple[int, str], bytes] = {}
    as_of: dict[str, dict[str, str | int]] = {}
    for zone in engine.store.zones:
        head = await zone_log.read_head(engine.store.read_connection, zone)
        as_of[zone] = {"epoch": head.epoch, "seq": head.seq}
        for document in await _live_rooms(engine, caller, zone, query.job):
            room = _listed_room_decoder.decode(document)
            if (query.job is None or room.job == query.job) and (
                query.open is None or query.open == (room.state == "open")
            ):
                found[room.sort_key] = document
    order = sorted((place for place in found if before is None or place < before), reverse=True)
    after = encode_cursor(*order[limit - 1]) if len(order) > limit else None
    return Page([found[place] for place in order[:limit]], after, as_of)


async def _live_rooms(engine: Engine, caller: Principal, zone: Zone, job: str | None) -> list[bytes]:
    """Return the rooms of the caller in Redis; for ops, if ``job`` is given, the room of that job."""
    if job is not None and caller.is_ops:
        return await _room_of_job(engine, caller, zone, job)
    ids: list[bytes] = await engine.store.command("ZRANGE", keys.user_rooms(zone, caller.id), 0, -1)
    documents: list[bytes] = []
    for start in range(0, len(ids), ROOMS_PER_READ):
        args: Args = {"user": caller.id, "rooms": ids[start : start + ROOMS_PER_READ]}
        done = await engine.store.read(zone, "room_list", keys={"meta": keys.zone_meta(zone)}, args=args)
        documents += done.values
    return documents


async def _room_of_job(engine: Engine, caller: Principal, zone: Zone, job: str) -> list[bytes]:
    if zone_of(job) != zone:
        return []
    try:
        return [await read_room(engine, caller, room_of(in_redis.parse_job_id(job)[1]))]
    except NotFound:
        return []


def room_keys(zone: Zone, room: RoomId) -> dict[str, str]:
    """Return the keys that every script of one room has."""
    return {"meta": keys.zone_meta(zone), "room": keys.room(zone, room)}
