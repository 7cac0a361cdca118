"""Chat rooms that Redis no longer has. Their keys expire after SQL has the event that closed the room. SQL then has the
whole room, and only its read marks can still change.

The JSON of a room and the permission checks are the same as in lua/lib/room_view.lua.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.archive import room_reader
from engine.archive.room_reader import ArchivedMember, ArchivedRoom
from engine.errors import FieldError, Invalid, NotFound, NotMember
from engine.events import rfc3339_of
from engine.sql.insert import insert_into
from engine.sql.room_tables import room_reads
from engine.types import Principal, RoomId, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_LISTED_MEMBERS = 64
"""A larger room lists only the two sides of the job and the reader (lua/lib/room.lua also lists the mediator of an open
dispute, but a closed room has none).
"""
LISTED_ROLES = frozenset({"customer", "technician"})


class _ListedMember(msgspec.Struct, frozen=True):
    id: str
    name: str
    role: str
    since: str
    from_n: int


class _ReadMark(msgspec.Struct, frozen=True):
    user: str
    n: int


class _RoomDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A room as a client receives it, in the order of lua/lib/room.lua."""

    id: str
    zone: str
    job: str
    state: str
    n: int
    members: list[_ListedMember]
    members_n: int = 0
    mediator_invited: bool
    opened_at: str
    closed_at: str | None = None
    last_message: msgspec.Raw = msgspec.field(name="last")
    unread: int
    reads: list[_ReadMark]


async def read_room(engine: Engine, caller: Principal, room_id: RoomId, *, is_staff: bool = False) -> ArchivedRoom:
    """Return an archived room. With ``is_staff`` the caller need not be a member.

    Raises NotFound, NotMember, Unavailable.
    """
    room = await room_reader.room(engine.archive, room_id)
    if room is None:
        raise NotFound("No such room")
    if caller.id not in room.members and not is_staff:
        raise NotMember
    return room


def from_n_of(room: ArchivedRoom, user: UserId) -> int:
    """Return the number of the last message that ``user`` may not read: members read the messages after it. It is 0 for
    staff who are not a member, because they read all messages.
    """
    return room.members[user].from_n if user in room.members else 0


def view_room(room: ArchivedRoom, user: UserId) -> bytes:
    """Return a room as JSON, as ``user`` sees it."""
    from_n, is_large = from_n_of(room, user), len(room.members) > MAX_LISTED_MEMBERS
    listed = [m for m in room.members.values() if not is_large or m.role in LISTED_ROLES or m.id == user]
    marks = sorted(name for name in room.reads if not is_large or name == user)
    read = max(room.reads.get(user, 0), from_n)
    document = _RoomDocument(
        id=room.id,
        zone=room.zone,
        job=room.job,
        state=room.state,
        n=room.n,
        members=[_listed_member(member) for member in listed],
        members_n=len(room.members) if is_large else 0,
        mediator_invited=room.mediator_invited,
        opened_at=rfc3339_of(room.opened_at),
        closed_at=None if room.closed_at is None else rfc3339_of(room.closed_at),
        last_message=msgspec.Raw(room.last if room.last and room.n > from_n else b"null"),
        unread=max(0, room.n - read) if user in room.members else 0,
        reads=[_ReadMark(name, room.reads[name]) for name in marks],
    )
    return msgspec.json.encode(document)


def _listed_member(member: ArchivedMember) -> _ListedMember:
    return _ListedMember(member.id, member.name, member.role, rfc3339_of(member.since), member.from_n)


async def move_mark(engine: Engine, caller: Principal, room_id: RoomId, n: int) -> int:
    """Move the caller's read mark of an archived room forward to ``n``, and return the mark. A higher mark stays. No
    event is appended, because the room is closed.

    Raises NotFound, NotMember, Invalid at ``/n``, Unavailable, Indeterminate.
    """
    room = await read_room(engine, caller, room_id)
    if n > room.n:
        raise Invalid(errors=[FieldError("/n", "Beyond the last message")])
    if n <= room.reads.get(caller.id, 0):
        return room.reads.get(caller.id, 0)
    mark = insert_into(engine.archive, room_reads).values(room=room_id, user=caller.id, n=n)
    forward = mark.on_conflict_do_update(
        index_elements=["room", "user"], set_={"n": mark.excluded.n}, where=room_reads.c.n < mark.excluded.n
    )
    async with engine.archive.begin_write() as conn:
        await conn.execute(forward)
    return n
