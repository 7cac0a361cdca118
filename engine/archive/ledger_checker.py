"""Check the ledger of a database: its lines balance, and they agree with the archived events."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive import ledger_reader, reader, retired
from engine.archive.ledger_projection import LEDGER_TYPES, LedgerRows, fold_ledger_event, line_rows
from engine.sql.database import Archive
from engine.sql.ledger_tables import ledger_entries, ledger_lines, ledger_progress
from engine.sql.schema import events
from engine.types import Zone

PAGE_SIZE = 1_000
MAX_FINDINGS = 50
"""The check ends after this many findings."""


async def find_problems(archive: Archive) -> tuple[int, list[str]]:
    """Return how many events about money were compared, and one sentence for each problem. Raises Unavailable."""
    compared, causes = 0, set[str]()
    async with archive.begin_read() as conn:
        found = await ledger_reader.find_unbalanced(conn)
        for zone, last in (await conn.execute(select(ledger_progress.c.zone, ledger_progress.c.seq))).all():
            seq = 0
            while len(found) < MAX_FINDINGS and (page := await _read_page(conn, zone, seq, last)):
                found += await _compare(conn, zone, page, causes)
                compared, seq = compared + len(page), page[-1]["seq"]
        found += await _find_unexplained(conn)
    return compared, found[:MAX_FINDINGS]


async def _find_unexplained(conn: AsyncConnection) -> list[str]:
    """Return the entries of the ledger that no archived event about money explains, one sentence each. The events of
    old entries may be retired.
    """
    entry, found = ledger_entries.c, []
    zones = list((await conn.execute(select(entry.zone).distinct().order_by(entry.zone))).scalars())
    same = and_(events.c.zone == entry.zone, events.c.seq == entry.seq, events.c.type.in_(LEDGER_TYPES))
    for zone in zones:
        query = (
            select(entry.seq, entry.kind, entry.cause)
            .select_from(ledger_entries.outerjoin(events, same))
            .where(entry.zone == zone, entry.seq > await retired.retired_seq(conn, zone), events.c.seq.is_(None))
            .order_by(entry.seq, entry.kind)
            .limit(MAX_FINDINGS)
        )
        rows = (await conn.execute(query)).all()
        found += [f"{zone}:{row.seq} {row.kind}: no event explains the entry {row.cause!r}" for row in rows]
    return found


async def _read_page(conn: AsyncConnection, zone: Zone, after: int, last: int) -> list[Any]:
    columns = events.c
    here = (columns.zone == zone, columns.seq > after, columns.seq <= last, columns.type.in_(LEDGER_TYPES))
    query = select(events).where(*here).order_by(columns.seq).limit(PAGE_SIZE)
    return list((await conn.execute(query)).mappings())


async def _compare(conn: AsyncConnection, zone: Zone, page: list[Any], causes: set[str]) -> list[str]:
    """Return one sentence for each event whose lines in the ledger are missing or differ. ``causes`` are the causes of
    all entries of the ledger.
    """
    lines = ledger_lines.c
    span = (lines.zone == zone, lines.seq >= page[0]["seq"], lines.seq <= page[-1]["seq"])
    booked: dict[int, list[dict[str, Any]]] = {}
    for row in (await conn.execute(select(ledger_lines).where(*span).order_by(lines.seq, lines.n))).mappings():
        booked.setdefault(row["seq"], []).append(dict(row))
    found = []
    for row in page:
        rows = LedgerRows()
        try:
            fold_ledger_event(rows, reader.event_of_row(row))
        except (msgspec.DecodeError, ValueError):
            found.append(f"{zone}:{row['seq']} {row['type']}: the event cannot be read")
            continue
        rows.entries = [(seq, entry) for seq, entry in rows.entries if entry.cause not in causes]
        causes |= {entry.cause for _, entry in rows.entries}
        if booked.get(row["seq"], []) != line_rows(zone, rows):
            found.append(f"{zone}:{row['seq']} {row['type']}: the ledger does not have what the event says")
    return found
