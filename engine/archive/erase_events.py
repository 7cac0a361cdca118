"""Erase a person's data from the archived events, and the salts of their leaves in the audit tree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.person_reader import BATCH_SIZE
from engine.rules.redaction import Person, redact_event, redact_text
from engine.sql.audit_tables import audit
from engine.sql.database import Archive
from engine.sql.schema import events, events_refused
from engine.types import Zone

Announce = Callable[[Zone, list[int]], Awaitable[None]]
"""A function that appends ``subject.erased`` to the zone's log. The event names the events whose leaves lose their
salts.
"""


async def erase_events(
    archive: Archive, zone: Zone, person: Person, seqs: Sequence[int], announce: Announce | None
) -> int:
    """Erase the person's data in the events ``seqs``. Return how many events were changed. Raises the same errors as
    ``Archive.begin_write`` and those of ``announce``.

    At most ``BATCH_SIZE`` events are announced in the log, then changed in one transaction. So the log explains each
    missing salt, even if the process ends in between. If ``announce`` is None, the caller announces the events later.
    """
    changed = 0
    for start in range(0, len(seqs), BATCH_SIZE):
        batch = list(seqs[start : start + BATCH_SIZE])
        async with archive.begin_read() as conn:
            data, entries = (
                await _redacted_events(conn, zone, person, batch),
                await _redacted_entries(conn, zone, person, batch),
            )
        erased = sorted({*data, *entries})
        if not erased:
            continue
        if announce:
            await announce(zone, erased)
        async with archive.begin_write() as conn:
            await _write_values(conn, update(events).where(events.c.zone == zone), events.c.seq, "data", data)
            refused = update(events_refused).where(events_refused.c.zone == zone)
            await _write_values(conn, refused.values(error=""), events_refused.c.seq, "entry", entries)
            await conn.execute(update(audit).where(audit.c.zone == zone, audit.c.seq.in_(erased)).values(salt=None))
        changed += len(erased)
    return changed


async def _write_values(conn: AsyncConnection, change: Any, seq: Any, column: str, values: dict[int, Any]) -> None:
    if values:
        rows = [{"of_seq": at, "new_value": value} for at, value in values.items()]
        await conn.execute(change.where(seq == bindparam("of_seq")).values({column: bindparam("new_value")}), rows)


async def _redacted_events(conn: AsyncConnection, zone: Zone, person: Person, seqs: list[int]) -> dict[int, str]:
    """Return, by seq, the new content of the column ``data`` of each event that contains data of the person."""
    columns = events.c
    query = select(columns.seq, columns.type, columns.actor, columns.to, columns.data).where(
        columns.zone == zone, columns.seq.in_(seqs)
    )
    changed = {}
    for row in await conn.execute(query):
        data = redact_event(person, row.type, row.actor, row.to.split(), row.data)
        if data != row.data:
            changed[row.seq] = data
    return changed


async def _redacted_entries(conn: AsyncConnection, zone: Zone, person: Person, seqs: list[int]) -> dict[int, bytes]:
    """Return, by seq, the new content of the column ``entry`` of each row in quarantine that contains data of the
    person. The entry's ``state`` is emptied too, because nobody reads the state of a refused event.
    """
    columns = events_refused.c
    query = select(columns.seq, columns.entry).where(columns.zone == zone, columns.seq.in_(seqs))
    changed = {}
    for row in await conn.execute(query):
        entry = msgspec.json.decode(row.entry)
        data = redact_event(person, entry["type"], entry["actor"], entry["to"], entry["data"])
        if data == entry["data"]:
            data = redact_text(person, data)
        if data != entry["data"]:
            changed[row.seq] = msgspec.json.encode({**entry, "data": data, "state": ""})
    return changed


async def unsalted_seqs(archive: Archive, zone: Zone, seqs: Sequence[int]) -> list[int]:
    """Return those of ``seqs`` whose leaves have no salt any more."""
    found: list[int] = []
    async with archive.begin_read() as conn:
        for start in range(0, len(seqs), BATCH_SIZE):
            here = (
                audit.c.zone == zone,
                audit.c.seq.in_(list(seqs[start : start + BATCH_SIZE])),
                audit.c.salt.is_(None),
            )
            found += (await conn.execute(select(audit.c.seq).where(*here))).scalars()
    return sorted(found)
