"""Everything that SQL has about a person, for the person and for `callout export`.

The export includes texts of other people in the person's rooms and about their jobs, because the person could read
them. It does not include data that protects others or the server: password hashes, keys of logins, and push tokens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Table, and_, or_, select, tuple_

from engine.archive.export import Line, event_line, event_pages
from engine.rules.ledger import technician_account
from engine.sql.database import Archive
from engine.sql.device_tables import devices
from engine.sql.file_tables import files
from engine.sql.ledger_tables import ledger_lines, payouts
from engine.sql.path_tables import job_paths
from engine.sql.quote_tables import quotes
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
from engine.sql.technician_tables import technician_hours
from engine.sql.vault_tables import receipts
from engine.types import UserId

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


async def export_person(archive: Archive, user: UserId) -> AsyncIterator[Line]:
    """Yield everything about a person. ``kind`` of a line is ``job``, ``message``, ``event``, or ``row`` with the name
    of its table. Raises Unavailable.
    """
    own_rooms = select(room_members.c.room).where(room_members.c.user == user)
    own_jobs = select(jobs.c.id).where(or_(jobs.c.customer == user, jobs.c.technician == user))
    booked = select(jobs.c.id).where(jobs.c.customer == user)
    parts: list[tuple[Table, ColumnElement[bool]]] = [
        (users, users.c.id == user),
        (technicians, technicians.c.id == user),
        (technician_services, technician_services.c.technician == user),
        (technician_hours, technician_hours.c.technician == user),
        (sessions, sessions.c.user == user),
        (devices, devices.c.user == user),
        (blocks, blocks.c.user == user),
        (ratings, or_(ratings.c.by == user, ratings.c.of == user)),
        (offers, offers.c.technician == user),
        (bids, or_(bids.c.technician == user, bids.c.job.in_(booked))),
        (payments, payments.c.job.in_(own_jobs)),
        (payouts, payouts.c.technician == user),
        (ledger_lines, ledger_lines.c.account == technician_account(user)),
        (notifications, notifications.c.user == user),
        (quotes, quotes.c.customer == user),
        (receipts, receipts.c.customer == user),
        (files, or_(files.c.by == user, files.c.target.in_(select("job:" + jobs.c.id).where(jobs.c.customer == user)))),
        (positions, positions.c.technician == user),
        (job_paths, job_paths.c.technician == user),
        (rooms, rooms.c.id.in_(own_rooms)),
        (room_members, room_members.c.user == user),
        (room_reads, room_reads.c.user == user),
    ]
    for table, condition in parts:
        async for row in _rows(archive, table, condition):
            yield {"kind": "row", "table": str(table.name), "row": row}
    async for job in _rows(archive, jobs, jobs.c.id.in_(own_jobs)):
        yield {"kind": "job", "job": job["doc"]}
    async for message in _messages(archive, user):
        yield {"kind": "message", "message": message}
    async for event in _events(archive, user):
        yield event


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


async def _messages(archive: Archive, user: UserId) -> AsyncIterator[msgspec.Raw]:
    """Yield the messages that the person could read: in each room, those after the number at which the person became a
    member.
    """
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
                yield msgspec.Raw(row.doc.encode())
        if len(rows) < PAGE_SIZE:
            return
        last = (rows[-1].room, rows[-1].n)


async def _events(archive: Archive, user: UserId) -> AsyncIterator[Line]:
    """Yield the events that were addressed to the person, without their other receivers and request keys."""
    channel = f"user:{user}"
    same = and_(event_channels.c.zone == events.c.zone, event_channels.c.seq == events.c.seq)
    query = select(events).join(event_channels, same).where(event_channels.c.channel == channel)
    async for event in event_pages(archive, query):
        yield {**event_line(event), "to": [channel], "cause": None}


def _public_row(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    shown = {str(name): value for name, value in row.items() if f"{table.name}.{name}" not in SECRET_COLUMNS}
    if isinstance(shown.get("doc"), str):
        shown["doc"] = msgspec.Raw(shown["doc"].encode())
    return shown
