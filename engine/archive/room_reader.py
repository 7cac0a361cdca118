"""Queries on the archived chat rooms and their messages. All functions raise Unavailable.

The results show the state at the archiver's checkpoint. Redis has every open room, and the newest messages of each
room; the callers read Redis first and then the older part here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Row, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.sql.database import Archive
from engine.sql.room_tables import messages, room_members, room_progress, room_reads, rooms
from engine.sql.schema import checkpoints
from engine.types import JobId, UserId, Zone

MAX_MESSAGES_OF_FILE = 20
"""If more messages than this have the same file, only the newest ones are found."""


class ArchivedMember(msgspec.Struct, frozen=True):
    """A present member of an archived room. ``since`` is in ms since the Unix epoch."""

    id: UserId
    name: str
    role: str
    since: int
    from_n: int


class ArchivedRoom(msgspec.Struct, frozen=True):
    """An archived room with its present members, in the order of their memberships, and their read marks. ``last`` is
    the last message as JSON. Times are ms since the Unix epoch.
    """

    id: str
    zone: Zone
    job: JobId
    state: str
    n: int
    mediator_invited: bool
    opened_at: int
    closed_at: int | None
    active_at: int
    members: dict[UserId, ArchivedMember]
    reads: dict[UserId, int]
    last: bytes | None

    def sort_key_of(self, user: UserId) -> tuple[int, str]:
        """Return the place of the room in the list of ``user``: the time of the last message that they may read, or of
        the opening, and the room's id.
        """
        member = self.members.get(user)
        return self.active_at if self.n > (member.from_n if member else 0) else self.opened_at, self.id


class FirstMessage(NamedTuple):
    """The message that was sent with a ``client_id``, as JSON, and the seq of its event; None and 0 if SQL has no such
    message. ``looked`` is the seq up to which SQL has all messages of the zone, and so the search is complete.
    """

    message: bytes | None
    seq: int
    looked: int


async def room(archive: Archive, room_id: str) -> ArchivedRoom | None:
    """Return an archived room; None if SQL has no such room."""
    found = await _read_rooms(archive, select(rooms).where(rooms.c.id == room_id))
    return found[0] if found else None


async def rooms_by_id(archive: Archive, room_ids: Sequence[str]) -> list[ArchivedRoom]:
    """Return those of these rooms that SQL has, in any order."""
    return await _read_rooms(archive, select(rooms).where(rooms.c.id.in_(room_ids))) if room_ids else []


async def closed_rooms_of(
    archive: Archive, user: UserId, limit: int, before: tuple[int, str] | None = None
) -> list[ArchivedRoom]:
    """Return the closed rooms of a member, the latest activity first, at most ``limit``. ``before`` is the sort key
    (``active_at``, ``id``) of the last room of the page before.
    """
    mine = room_members.c
    query = (
        select(rooms)
        .join(room_members, mine.room == rooms.c.id)
        .where(mine.user == user, mine.active_at.is_not(None), mine.left_at.is_(None))
        .order_by(mine.active_at.desc(), mine.room.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(tuple_(mine.active_at, mine.room) < before)
    return await _read_rooms(archive, query)


async def rooms_of_all(
    archive: Archive, zone: Zone, limit: int, before: tuple[int, str] | None = None, *, state: str | None = None
) -> list[ArchivedRoom]:
    """Return the rooms of a zone in the order of ``closed_rooms_of``. With ``state``, return only the rooms in this
    state.
    """
    order = (rooms.c.active_at.desc(), rooms.c.id.desc())
    query = select(rooms).where(rooms.c.zone == zone).order_by(*order).limit(limit)
    if state is not None:
        query = query.where(rooms.c.state == state)
    if before is not None:
        query = query.where(tuple_(rooms.c.active_at, rooms.c.id) < before)
    return await _read_rooms(archive, query)


async def _read_rooms(archive: Archive, query: Select[tuple[object, ...]]) -> list[ArchivedRoom]:
    """Run a query for rows of ``rooms``, and read the members, the marks and the last message of each."""
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
        ids = [row.id for row in rows]
        members: dict[str, dict[UserId, ArchivedMember]] = {room_id: {} for room_id in ids}
        reads: dict[str, dict[UserId, int]] = {room_id: {} for room_id in ids}
        if rows:
            await _read_members(conn, ids, members, reads)
        last = await _last_messages(conn, ids) if rows else {}
    return [_room_of_row(row, members[row.id], reads[row.id], last.get(row.id)) for row in rows]


async def _read_members(
    conn: AsyncConnection,
    ids: Sequence[str],
    members: dict[str, dict[UserId, ArchivedMember]],
    reads: dict[str, dict[UserId, int]],
) -> None:
    """Fill ``members`` and ``reads`` of these rooms."""
    of_rooms = room_members.c.room.in_(ids) & room_members.c.left_at.is_(None)
    rows = (await conn.execute(select(room_members).where(of_rooms))).all()
    # Sorted here, because the databases may order texts differently.
    for row in sorted(rows, key=lambda row: (row.since, row.role, row.user)):
        members[row.room][row.user] = ArchivedMember(row.user, row.name, row.role, row.since, row.from_n)
    for row in await conn.execute(select(room_reads).where(room_reads.c.room.in_(ids), room_reads.c.n > 0)):
        reads[row.room][row.user] = row.n


async def _last_messages(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, bytes]:
    query = (
        select(messages.c.room, messages.c.doc)
        .join(rooms, (rooms.c.id == messages.c.room) & (rooms.c.n == messages.c.n))
        .where(rooms.c.id.in_(ids))
    )
    return {row.room: row.doc.encode() for row in await conn.execute(query)}


def _room_of_row(
    row: Row[tuple[object, ...]],
    members: dict[UserId, ArchivedMember],
    reads: dict[UserId, int],
    last: bytes | None,
) -> ArchivedRoom:
    return ArchivedRoom(
        id=row.id,
        zone=row.zone,
        job=row.job,
        state=row.state,
        n=row.n,
        mediator_invited=row.mediator_invited,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        active_at=row.active_at,
        members=members,
        reads=reads,
        last=last,
    )


async def messages_before(archive: Archive, room_id: str, before: int, above: int, limit: int) -> list[bytes]:
    """Return the archived messages with ``above`` < n < ``before`` as JSON, the newest first, at most ``limit``."""
    return await _read_messages(archive, room_id, above, before, limit, is_newest_first=True)


async def messages_after(archive: Archive, room_id: str, after: int, below: int, limit: int) -> list[bytes]:
    """Return the archived messages with ``after`` < n < ``below`` as JSON, the oldest first, at most ``limit``."""
    return await _read_messages(archive, room_id, after, below, limit, is_newest_first=False)


async def _read_messages(
    archive: Archive, room_id: str, above: int, below: int, limit: int, *, is_newest_first: bool
) -> list[bytes]:
    columns = messages.c
    query = (
        select(columns.doc)
        .where(columns.room == room_id, columns.n > above, columns.n < below)
        .order_by(columns.n.desc() if is_newest_first else columns.n)
        .limit(limit)
    )
    async with archive.begin_read() as conn:
        return [doc.encode() for doc in (await conn.execute(query)).scalars()]


async def numbers_of_file(archive: Archive, room_id: str, file: str) -> list[int]:
    """Return the numbers of the newest messages of a room that have a file, at most ``MAX_MESSAGES_OF_FILE``."""
    columns = messages.c
    named = (columns.room == room_id, columns.doc.contains(file, autoescape=True))
    query = select(columns.n).where(*named).order_by(columns.n.desc()).limit(MAX_MESSAGES_OF_FILE)
    async with archive.begin_read() as conn:
        return list((await conn.execute(query)).scalars())


async def first_message(archive: Archive, zone: Zone, room_id: str, sender: UserId, client_id: str) -> FirstMessage:
    """Return the message that ``sender`` wrote under ``client_id``, and how far SQL has the zone's messages. Both are
    read from one state of the database.
    """
    columns = messages.c
    named = (columns.room == room_id, columns.sender == sender, columns.client_id == client_id)
    async with archive.begin_read() as conn:
        row = (await conn.execute(select(columns.doc, columns.seq).where(*named))).one_or_none()
        looked = (await conn.execute(select(room_progress.c.seq).where(room_progress.c.zone == zone))).scalar() or 0
    return FirstMessage(row.doc.encode(), row.seq, looked) if row else FirstMessage(None, 0, looked)


async def has_every_message(archive: Archive, zone: Zone) -> bool:
    """Return whether the tables of rooms have every archived event of the zone. After an archiver of a release without
    these tables they lag until the next archiver begins (room_refill.py).
    """
    behind = select(checkpoints.c.seq).where(checkpoints.c.zone == zone, checkpoints.c.seq > _archived_room_seq(zone))
    async with archive.begin_read() as conn:
        return (await conn.execute(behind)).first() is None


def _archived_room_seq(zone: Zone) -> ColumnElement[int]:
    return func.coalesce(select(room_progress.c.seq).where(room_progress.c.zone == zone).scalar_subquery(), 0)
