"""A user's notifications: the notifications that the archiver has copied to SQL, and the newer ones that are only in
the log.

The list joins both, so that it contains every notification that a push has already delivered. The order of reading
matters: first the archive's checkpoint, then the log above it, then SQL. An entry that is trimmed from the log between
these reads was archived before, and is therefore in SQL.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import and_, select

from engine.clock import now_ms
from engine.errors import NotFound
from engine.events import rfc3339_of
from engine.rules.event_payloads import NotificationData
from engine.sql.insert import insert_into
from engine.sql.paging import Slice, check_limit, decode_cursor, make_slice
from engine.sql.schema import notification_reads, notifications
from engine.types import JobId, Principal, RoomId, Zone
from engine.zone import log, records

if TYPE_CHECKING:
    from engine.runtime import Engine


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification: the members of its event, its time, and whether the user has read the notification."""

    id: str
    kind: str
    title: str
    body: str
    job: JobId | None
    room: RoomId | None
    at: str
    read: bool


class _NotificationEntry(msgspec.Struct, frozen=True):
    data: NotificationData
    at: int
    read: bool


async def find_notifications(
    engine: Engine, caller: Principal, *, limit: int = 50, cursor: str | None = None
) -> Slice[Notification]:
    """Return the caller's notifications, the newest first. Raises Invalid (limit, cursor), Unavailable."""
    check_limit(limit)
    before = decode_cursor(cursor, tuple[int, str]) if cursor is not None else None
    entries = {each.data.id: each for each in await _unarchived_entries(engine, caller)}
    entries |= {each.data.id: each for each in await _archived_entries(engine, caller, limit, before)}
    ordered = sorted(entries.values(), key=lambda each: (each.at, each.data.id), reverse=True)
    rest = [each for each in ordered if before is None or (each.at, each.data.id) < before]
    page = make_slice(rest, limit, lambda each: (each.at, each.data.id))
    return Slice([_notification_of_entry(each) for each in page.items], page.next)


async def find_unread(engine: Engine, caller: Principal, limit: int) -> list[Notification]:
    """Return the newest notifications that the caller has not read. Raises Unavailable."""
    entries = {each.data.id: each for each in await _unarchived_entries(engine, caller) if not each.read}
    entries |= {each.data.id: each for each in await _archived_entries(engine, caller, limit, None, unread=True)}
    ordered = sorted(entries.values(), key=lambda each: (each.at, each.data.id), reverse=True)
    return [_notification_of_entry(each) for each in ordered[:limit]]


async def mark_read(engine: Engine, caller: Principal, notification: str) -> None:
    """Record that the caller has read a notification; a repeat changes nothing. Raises NotFound if the notification is
    not the caller's.
    """
    new = {each.data.id for each in await _unarchived_entries(engine, caller)}
    if notification not in new and not await _is_own(engine, caller, notification):
        raise NotFound
    row = insert_into(engine.archive, notification_reads).values(user=caller.id, notification=notification, at=now_ms())
    async with engine.archive.begin_write() as conn:
        await conn.execute(row.on_conflict_do_nothing())


async def _unarchived_entries(engine: Engine, caller: Principal) -> list[_NotificationEntry]:
    archived = await records.read_archived_seqs(engine.archive)
    parts = await asyncio.gather(*(_read_log(engine, caller, z, archived.get(z, 0)) for z in engine.store.zones))
    entries = [each for part in parts for each in part]
    if not entries:
        return []
    reads = notification_reads
    query = select(reads.c.notification).where(
        reads.c.user == caller.id, reads.c.notification.in_([each.data.id for each in entries])
    )
    async with engine.archive.begin_read() as conn:
        read = set((await conn.execute(query)).scalars())
    return [msgspec.structs.replace(each, read=each.data.id in read) for each in entries]


async def _read_log(engine: Engine, caller: Principal, zone: Zone, after: int) -> list[_NotificationEntry]:
    tail = await log.read_channel(engine.store.read_connection, zone, after, f"user:{caller.id}")
    return [
        _NotificationEntry(msgspec.json.decode(event.data, type=NotificationData), event.at, False)
        for event in tail
        if event.type == "notification"
    ]


async def _archived_entries(
    engine: Engine, caller: Principal, limit: int, before: tuple[int, str] | None, *, unread: bool = False
) -> list[_NotificationEntry]:
    columns, reads = notifications.c, notification_reads
    is_read = and_(reads.c.user == columns.user, reads.c.notification == columns.id)
    query = (
        select(notifications, reads.c.at.label("read_at"))
        .outerjoin(reads, is_read)
        .where(columns.user == caller.id)
        .order_by(columns.at.desc(), columns.id.desc())
        .limit(limit + 1)
    )
    if unread:
        query = query.where(reads.c.at.is_(None))
    if before is not None:
        query = query.where((columns.at < before[0]) | ((columns.at == before[0]) & (columns.id < before[1])))
    async with engine.archive.begin_read() as conn:
        loaded = (await conn.execute(query)).all()
    return [
        _NotificationEntry(
            NotificationData(id=row.id, kind=row.kind, title=row.title, body=row.body, job=row.job, room=row.room),
            row.at,
            row.read_at is not None,
        )
        for row in loaded
    ]


async def _is_own(engine: Engine, caller: Principal, notification: str) -> bool:
    query = select(notifications.c.id).where(notifications.c.id == notification, notifications.c.user == caller.id)
    async with engine.archive.begin_read() as conn:
        return (await conn.execute(query)).one_or_none() is not None


def _notification_of_entry(entry: _NotificationEntry) -> Notification:
    data = entry.data
    return Notification(
        id=data.id,
        kind=data.kind,
        title=data.title,
        body=data.body,
        job=data.job,
        room=data.room,
        at=rfc3339_of(entry.at),
        read=entry.read,
    )
