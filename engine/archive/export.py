"""Read what the archive has of a job or a part of a log, for an export. All functions raise Unavailable.

engine/archive/person_export.py exports what there is about a user.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from sqlalchemy import Select, and_, or_, select

from engine.archive import reader
from engine.events import Event, rfc3339_of
from engine.sql.database import Archive
from engine.sql.room_tables import messages
from engine.sql.schema import events
from engine.types import JobId, Zone, room_of

PAGE_SIZE = 500

Line = dict[str, Any]
"""One line of an export: ``kind`` is ``job``, ``event`` or ``message``."""


async def export_job(archive: Archive, job: JobId) -> AsyncIterator[Line]:
    """Yield a job, its events and the messages of its room. Raises LookupError if the archive does not have the job."""
    document = await reader.job(archive, job)
    if document is None:
        raise LookupError(job)
    yield {"kind": "job", "job": msgspec.Raw(document)}
    async for event in event_pages(archive, select(events).where(events.c.job == job)):
        yield event_line(event)
    query = select(messages.c.doc).where(messages.c.room == room_of(job)).order_by(messages.c.n)
    async with archive.begin_read() as conn:
        for text in (await conn.execute(query)).scalars():
            yield {"kind": "message", "message": msgspec.Raw(text.encode())}


async def export_range(archive: Archive, zone: Zone, first: int, last: int) -> AsyncIterator[Line]:
    """Yield the events of a zone with ``first`` ≤ seq ≤ ``last``."""
    query = select(events).where(events.c.zone == zone, events.c.seq >= first, events.c.seq <= last)
    async for event in event_pages(archive, query):
        yield event_line(event)


async def event_pages(archive: Archive, query: Select[Any]) -> AsyncIterator[Event]:
    """Yield the events of ``query``, zone by zone and in the order of the log."""
    columns, last = events.c, ("", 0)
    while True:
        after = or_(columns.zone > last[0], and_(columns.zone == last[0], columns.seq > last[1]))
        page = query.where(after).order_by(columns.zone, columns.seq).limit(PAGE_SIZE)
        async with archive.begin_read() as conn:
            rows = (await conn.execute(page)).mappings().all()
        for row in rows:
            yield reader.event_of_row(row)
        if len(rows) < PAGE_SIZE:
            return
        last = (rows[-1]["zone"], rows[-1]["seq"])


def event_line(event: Event) -> Line:
    """Return an event as a line. ``data`` that is not JSON is exported as a text."""
    try:
        data: Any = msgspec.json.decode(event.data)
    except msgspec.DecodeError:
        data = event.data.decode("utf-8", "replace")
    return {
        "kind": "event",
        "zone": event.zone,
        "seq": event.seq,
        "at": rfc3339_of(event.at),
        "type": event.type,
        "to": list(event.to),
        "actor": event.actor,
        "blueprint": event.blueprint_key or None,
        "cause": event.cause or None,
        "data": data,
    }
