"""Read from SQL what determines the keys of chat rooms, a page of rooms at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.domain.messages import message_digest
from engine.files.file_object import AttachedFiles, file_ids
from engine.rebuild.room_contents import KEPT_CLIENT_IDS, Member, RoomState, SentMessage
from engine.rules.job_document import EventJob
from engine.sql.id_lists import read_among
from engine.sql.room_tables import messages, room_members, rooms
from engine.sql.schema import event_channels, events, notifications
from engine.types import RoomId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

PAGE_SIZE = 500
MESSAGES_PER_PAGE = 500
SHORT_ROOM_MESSAGES = 20


class _JobData(msgspec.Struct):
    job: msgspec.Raw = msgspec.Raw(b"")


class _SentContent(msgspec.Struct):
    text: str
    files: AttachedFiles


_MESSAGE_FIELDS = tuple(messages.c[name] for name in ("room", "n", "seq", "sender", "client_id", "doc"))
_data_decoder = msgspec.json.Decoder(_JobData)
_job_decoder = msgspec.json.Decoder(EventJob)
_content_decoder = msgspec.json.Decoder(_SentContent)


async def room_ids(engine: Engine, zone: Zone, closed_since: int) -> list[str]:
    """Return the rooms that Redis is to have: those that are open, or were closed since ``closed_since`` (ms). Redis
    forgets a room that was closed before, although its job may be there again for a late payment. Raises Unavailable.
    """
    async with engine.archive.begin_read() as conn:
        query = select(rooms.c.id).where(rooms.c.zone == zone, _is_live(closed_since))
        return sorted((await conn.execute(query)).scalars())


async def live_among(engine: Engine, ids: Collection[str], closed_since: int) -> list[str]:
    """Return those of the rooms ``ids`` that Redis is to have. Raises Unavailable."""
    async with engine.archive.begin_read() as conn:
        query = select(rooms.c.id).where(rooms.c.id.in_(ids), _is_live(closed_since))
        return sorted((await conn.execute(query)).scalars())


def _is_live(closed_since: int) -> ColumnElement[bool]:
    return or_(rooms.c.state == "open", rooms.c.closed_at > closed_since)


async def read_rooms(engine: Engine, zone: Zone, ids: Sequence[str]) -> list[RoomState]:
    """Return what SQL has of the rooms ``ids``. Raises Unavailable."""
    async with engine.archive.begin_read() as conn:
        rows = (await conn.execute(select(rooms).where(rooms.c.id.in_(ids)).order_by(rooms.c.id))).all()
        members = await _read_members(conn, ids)
        of_jobs = await read_among(conn, "SELECT id, doc FROM jobs WHERE id", [row.job for row in rows])
        job_of = {job: _job_decoder.decode(document.encode()) for job, document in of_jobs}
        done = [job for job, document in job_of.items() if document.phase == "done"]
        ended_at = await _read_ends(conn, done)
        blueprint_of = await _read_blueprints(conn, list(job_of))
        channels = [f"room:{room}" for room in ids]
        columns = event_channels.c
        large = select(columns.channel).where(columns.zone == zone, columns.channel.in_(channels)).distinct()
        large_channels = set((await conn.execute(large)).scalars())
    states = []
    for row in rows:
        job = job_of.get(row.job, EventJob())
        key = blueprint_of.get(row.job, "")
        rule = engine.blueprints.find_or_default(key).room
        states.append(
            RoomState(
                zone=zone,
                id=RoomId(row.id),
                job=row.job,
                blueprint_key=key,
                state=row.state,
                n=row.n,
                opened_at=row.opened_at,
                closed_at=row.closed_at,
                mediator=row.mediator,
                mediator_invited=row.mediator_invited,
                members=members[row.id],
                holder=job.holder_id,
                ended_at=ended_at.get(row.job),
                is_frozen=job.frozen,
                closes_ms=round(rule.closes_s * 1000) if rule else 0,
                technician_is_member=bool(rule and "holder" in rule.members),
                was_large=f"room:{row.id}" in large_channels,
            )
        )
    return states


async def read_messages(
    engine: Engine, page: Sequence[RoomState]
) -> AsyncIterator[tuple[RoomState, list[SentMessage]]]:
    """Yield the last messages of each room of ``page``, in order and in pieces: those whose ``client_id`` Redis must
    recognise, and the one before them. Short rooms share one query. Raises Unavailable.
    """
    short = {str(room.id): room for room in page if 0 < room.n <= SHORT_ROOM_MESSAGES}
    if short:
        query = select(*_MESSAGE_FIELDS).where(messages.c.room.in_(short)).order_by(messages.c.room, messages.c.n)
        async with engine.archive.begin_read() as conn:
            rows = (await conn.execute(query)).all()
        for name, of_room in groupby(rows, lambda row: row.room):
            yield short[name], [_message_of_row(engine, short[name], row) for row in of_room]
    for room in page:
        if room.n > SHORT_ROOM_MESSAGES:
            async for piece in _read_long_room(engine, room):
                yield room, piece


async def _read_long_room(engine: Engine, room: RoomState) -> AsyncIterator[list[SentMessage]]:
    columns, last = messages.c, room.n - KEPT_CLIENT_IDS - 1
    while last < room.n:
        query = select(*_MESSAGE_FIELDS).where(columns.room == room.id, columns.n > last).order_by(columns.n)
        async with engine.archive.begin_read() as conn:
            rows = (await conn.execute(query.limit(MESSAGES_PER_PAGE))).all()
        if not rows:
            return
        yield [_message_of_row(engine, room, row) for row in rows]
        last = rows[-1].n


def _message_of_row(engine: Engine, room: RoomState, row: Any) -> SentMessage:
    content = _content_decoder.decode(row.doc.encode())
    digest = message_digest(engine, room.id, row.client_id, content.text, file_ids(content.files))
    return SentMessage(row.n, row.seq, row.sender, row.client_id, row.doc, digest)


async def _read_members(conn: AsyncConnection, ids: Sequence[str]) -> Mapping[str, list[Member]]:
    columns = room_members.c
    present = select(room_members).where(columns.room.in_(ids), columns.left_at.is_(None)).order_by(columns.user)
    rows = (await conn.execute(present)).all()
    marks = await read_among(conn, 'SELECT room, "user", n FROM room_reads WHERE room', ids)
    read_n = {(room, user): n for room, user, n in marks}
    noticed_n = await _read_notices(conn, ids, {row.user for row in rows})
    members: dict[str, list[Member]] = defaultdict(list)
    for row in rows:
        members[row.room].append(
            Member(
                id=UserId(row.user),
                name=row.name,
                role=row.role,
                since=row.since,
                from_n=row.from_n,
                joined=row.joined,
                read_n=read_n.get((row.room, row.user), 0),
                noticed_n=noticed_n.get((row.room, row.user), 0),
            )
        )
    return members


async def _read_notices(
    conn: AsyncConnection, ids: Sequence[str], users: Collection[str]
) -> dict[tuple[str, str], int]:
    """Return, by room and user, the newest message's number when the user was last notified of unread ones."""
    columns = notifications.c
    last = (
        select(columns.room, columns.user, func.max(columns.at).label("at"), func.max(columns.seq).label("seq"))
        .where(columns.user.in_(users), columns.room.in_(ids))
        .group_by(columns.room, columns.user)
        .subquery()
    )
    # A message of the same millisecond may be newer than the notification. Old rows have no seq, only a time.
    is_before = or_(messages.c.seq < last.c.seq, last.c.seq.is_(None) & (messages.c.at <= last.c.at))
    query = (
        select(last.c.room, last.c.user, func.max(messages.c.n).label("n"))
        .join(messages, (messages.c.room == last.c.room) & is_before)
        .group_by(last.c.room, last.c.user)
    )
    return {(row.room, row.user): row.n for row in await conn.execute(query)}


async def _read_ends(conn: AsyncConnection, of_jobs: Collection[str]) -> dict[str, int]:
    """Return when each of these jobs, which are done, became done (ms); the last time, if it went on in between."""
    columns = events.c
    query = select(columns.job, columns.at, columns.data).where(columns.job.in_(of_jobs))
    ended: dict[str, int] = {}
    for row in await conn.execute(query.order_by(columns.job, columns.seq)):
        raw = bytes(_data_decoder.decode(row.data.encode()).job)
        job = _job_decoder.decode(raw) if b'"customer"' in raw else EventJob()
        if job.phase == "done":
            ended.setdefault(row.job, row.at)
        elif job.phase:
            ended.pop(row.job, None)
    return ended


async def _read_blueprints(conn: AsyncConnection, of_jobs: Collection[str]) -> dict[str, str]:
    """Return the blueprints of these jobs, ``name@version``."""
    rows: Any = await read_among(conn, "SELECT DISTINCT job, bp FROM events WHERE bp <> '' AND job", of_jobs)
    return dict(rows)
