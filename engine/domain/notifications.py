"""A person's notifications: what the archiver has brought to SQL, and what only the log knows yet.

The two are joined so that the list is never behind a push already seen. The order of reading matters: how far the
archive is, then the log above that, then SQL. What leaves the log in between was archived before, and is in SQL.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import and_, select
from sqlalchemy.dialects import postgresql, sqlite

from engine.archive import reader
from engine.clock import now_ms
from engine.errors import NotFound
from engine.events import iso
from engine.sql.paging import Slice, check_limit, decode_cursor, slice_of
from engine.sql.schema import notification_reads as reads
from engine.sql.schema import notifications as rows
from engine.types import JobId, Principal, Zone
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """As the event told it, with its time and whether it was read."""

    id: str
    kind: str
    title: str
    body: str
    job: JobId | None
    at: str
    read: bool


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a ``notification`` event."""

    id: str
    kind: str
    title: str
    body: str
    job: JobId | None = None


class _Found(msgspec.Struct, frozen=True):
    told: Told
    at: int
    read: bool


async def find(engine: Engine, caller: Principal, *, limit: int = 50, cursor: str | None = None) -> Slice[Notification]:
    """The caller's notifications, the newest first. Raises Invalid (limit, cursor), Unavailable."""
    check_limit(limit)
    before = decode_cursor(cursor, tuple[int, str]) if cursor is not None else None
    found = {each.told.id: each for each in await _unarchived(engine, caller)}
    found |= {each.told.id: each for each in await _archived(engine, caller, limit, before)}
    ordered = sorted(found.values(), key=lambda each: (each.at, each.told.id), reverse=True)
    rest = [each for each in ordered if before is None or (each.at, each.told.id) < before]
    page = slice_of(rest, limit, lambda each: (each.at, each.told.id))
    return Slice([_shown(each) for each in page.items], page.next)


async def unread(engine: Engine, caller: Principal, limit: int) -> list[Notification]:
    """The newest of those that the caller has not read. Raises Unavailable."""
    found = {each.told.id: each for each in await _unarchived(engine, caller) if not each.read}
    found |= {each.told.id: each for each in await _archived(engine, caller, limit, None, unread=True)}
    ordered = sorted(found.values(), key=lambda each: (each.at, each.told.id), reverse=True)
    return [_shown(each) for each in ordered[:limit]]


async def mark_read(engine: Engine, caller: Principal, notification: str) -> None:
    """Note that the caller has read it; again is the same. Raises NotFound for none of his."""
    new = {each.told.id for each in await _unarchived(engine, caller)}
    if notification not in new and not await _is_his(engine, caller, notification):
        raise NotFound
    insertion = sqlite.insert if engine.archive.is_sqlite else postgresql.insert
    mark = insertion(reads).values(user=caller.id, notification=notification, at=now_ms())
    async with engine.archive.writing() as conn:
        await conn.execute(mark.on_conflict_do_nothing())


async def _unarchived(engine: Engine, caller: Principal) -> list[_Found]:
    zones = [Zone(zone) for zone in engine.settings.zones]
    found = [each for part in await asyncio.gather(*(_in_log(engine, caller, z) for z in zones)) for each in part]
    if not found:
        return []
    query = select(reads.c.notification).where(
        reads.c.user == caller.id, reads.c.notification.in_([each.told.id for each in found])
    )
    async with engine.archive.reading() as conn:
        read = set((await conn.execute(query)).scalars())
    return [msgspec.structs.replace(each, read=each.told.id in read) for each in found]


async def _in_log(engine: Engine, caller: Principal, zone: Zone) -> list[_Found]:
    known = await reader.checkpoint(engine.archive, zone)
    tail = await log.channel_tail(engine.store.reads, zone, known.seq if known else 0, f"user:{caller.id}")
    return [
        _Found(msgspec.json.decode(event.data, type=Told), event.at, False)
        for event in tail
        if event.type == "notification"
    ]


async def _archived(
    engine: Engine, caller: Principal, limit: int, before: tuple[int, str] | None, *, unread: bool = False
) -> list[_Found]:
    c = rows.c
    mark = and_(reads.c.user == c.user, reads.c.notification == c.id)
    query = (
        select(rows, reads.c.at.label("read_at"))
        .outerjoin(reads, mark)
        .where(c.user == caller.id)
        .order_by(c.at.desc(), c.id.desc())
        .limit(limit + 1)
    )
    if unread:
        query = query.where(reads.c.at.is_(None))
    if before is not None:
        query = query.where((c.at < before[0]) | ((c.at == before[0]) & (c.id < before[1])))
    async with engine.archive.reading() as conn:
        found = (await conn.execute(query)).all()
    return [
        _Found(
            Told(id=row.id, kind=row.kind, title=row.title, body=row.body, job=row.job),
            row.at,
            row.read_at is not None,
        )
        for row in found
    ]


async def _is_his(engine: Engine, caller: Principal, notification: str) -> bool:
    query = select(rows.c.id).where(rows.c.id == notification, rows.c.user == caller.id)
    async with engine.archive.reading() as conn:
        return (await conn.execute(query)).one_or_none() is not None


def _shown(found: _Found) -> Notification:
    told = found.told
    return Notification(
        id=told.id,
        kind=told.kind,
        title=told.title,
        body=told.body,
        job=told.job,
        at=iso(found.at),
        read=found.read,
    )
