"""Everything that SQL has about a person, for the person: one JSON object a line.

What other people wrote in the person's rooms and about their jobs is a part of it, as they could read it. What protects
others or the server is not: password hashes, keys of logins, and push tokens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import ColumnElement, Table, and_, or_, select, tuple_

from engine.archive import reader
from engine.domain import erasures
from engine.events import rfc3339_of
from engine.sql.database import Archive
from engine.sql.device_tables import devices
from engine.sql.path_tables import job_paths
from engine.sql.room_tables import messages, room_members, room_reads, rooms
from engine.sql.schema import (
    bids,
    blocks,
    event_channels,
    events,
    jobs,
    notifications,
    offers,
    payments,
    positions,
    ratings,
    sessions,
    technician_services,
    technicians,
    users,
)
from engine.types import Principal, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

PAGE_SIZE = 500
SECRET_COLUMNS = frozenset(
    {
        "users.password_hash",
        "sessions.salt",
        "sessions.generation",
        "sessions.used",
        "devices.token",
        "devices.token_hash",
    }
)


async def check_may_export(engine: Engine, caller: Principal, user: UserId, password: str | None) -> None:
    """Check that the caller may export what there is about ``user``. Raises Forbidden, NotFound."""
    await erasures.check_may_manage(engine, caller, user, password)


async def export_person(archive: Archive, user: UserId) -> AsyncIterator[dict[str, Any]]:
    """Yield the rows about a person as ``{"table", "row"}``, and the events addressed to them as ``{"event"}``. Raises
    Unavailable.
    """
    own_rooms = select(room_members.c.room).where(room_members.c.user == user)
    own_jobs = select(jobs.c.id).where(or_(jobs.c.customer == user, jobs.c.technician == user))
    parts: list[tuple[Table, ColumnElement[bool]]] = [
        (users, users.c.id == user),
        (technicians, technicians.c.id == user),
        (technician_services, technician_services.c.technician == user),
        (sessions, sessions.c.user == user),
        (devices, devices.c.user == user),
        (blocks, blocks.c.user == user),
        (ratings, or_(ratings.c.by == user, ratings.c.of == user)),
        (jobs, jobs.c.id.in_(own_jobs)),
        (offers, offers.c.technician == user),
        (bids, or_(bids.c.technician == user, bids.c.job.in_(own_jobs))),
        (payments, payments.c.job.in_(own_jobs)),
        (notifications, notifications.c.user == user),
        (positions, positions.c.technician == user),
        (job_paths, job_paths.c.technician == user),
        (rooms, rooms.c.id.in_(own_rooms)),
        (room_members, room_members.c.user == user),
        (room_reads, room_reads.c.user == user),
    ]
    for table, condition in parts:
        async for row in _rows(archive, table, condition):
            yield {"table": str(table.name), "row": row}
    async for row in _messages(archive, user):
        yield {"table": str(messages.name), "row": row}
    async for event in _events(archive, user):
        yield {"event": event}


async def _rows(archive: Archive, table: Table, condition: ColumnElement[bool]) -> AsyncIterator[dict[str, Any]]:
    key = list(table.primary_key.columns)
    query = select(table).where(condition).order_by(*key).limit(PAGE_SIZE)
    last: tuple[Any, ...] | None = None
    while True:
        page = query if last is None else query.where(tuple_(*key) > last)
        async with archive.begin_read() as conn:
            rows = (await conn.execute(page)).mappings().all()
        for row in rows:
            yield _public_row(table, dict(row))
        if len(rows) < PAGE_SIZE:
            return
        last = tuple(rows[-1][column] for column in key)


async def _messages(archive: Archive, user: UserId) -> AsyncIterator[dict[str, Any]]:
    """Yield the messages that the person could read: those above the number from which they were a member."""
    mine = and_(room_members.c.user == user, messages.c.n > room_members.c.from_n)
    query = select(messages.c.room, messages.c.n, messages.c.doc, room_members.c.left_at, messages.c.at)
    query = query.join(room_members, room_members.c.room == messages.c.room).where(mine)
    query = query.order_by(messages.c.room, messages.c.n).limit(PAGE_SIZE)
    last: tuple[str, int] | None = None
    while True:
        page = query if last is None else query.where(tuple_(messages.c.room, messages.c.n) > last)
        async with archive.begin_read() as conn:
            rows = (await conn.execute(page)).all()
        for row in rows:
            if row.left_at is None or row.at <= row.left_at:
                yield {"doc": msgspec.Raw(row.doc.encode())}
        if len(rows) < PAGE_SIZE:
            return
        last = (rows[-1].room, rows[-1].n)


async def _events(archive: Archive, user: UserId) -> AsyncIterator[dict[str, Any]]:
    same = and_(event_channels.c.zone == events.c.zone, event_channels.c.seq == events.c.seq)
    query = select(events).join(event_channels, same).where(event_channels.c.channel == f"user:{user}")
    query = query.order_by(events.c.zone, events.c.seq).limit(PAGE_SIZE)
    last: tuple[str, int] | None = None
    while True:
        page = query if last is None else query.where(tuple_(events.c.zone, events.c.seq) > last)
        async with archive.begin_read() as conn:
            rows = (await conn.execute(page)).mappings().all()
        for row in rows:
            event = reader.event_of_row(row)
            yield {
                "zone": event.zone,
                "seq": event.seq,
                "at": rfc3339_of(event.at),
                "type": event.type,
                "actor": event.actor,
                "data": msgspec.Raw(event.data),
            }
        if len(rows) < PAGE_SIZE:
            return
        last = (rows[-1]["zone"], rows[-1]["seq"])


def _public_row(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    shown = {str(name): value for name, value in row.items() if f"{table.name}.{name}" not in SECRET_COLUMNS}
    if isinstance(shown.get("doc"), str):
        shown["doc"] = msgspec.Raw(shown["doc"].encode())
    return shown
