"""Read from SQL the quotes that belong in Redis: those that are valid, and those that expired so recently that a
booking with them still gets the reason of its refusal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

from sqlalchemy import or_, select

from engine.rebuild.contents import Contents, KeyContent
from engine.sql.database import Archive
from engine.sql.quote_tables import quotes
from engine.store import keys
from engine.types import Zone

KEPT_MS = 86_400_000
"""How long Redis has a quote after its end (lua/lib/quotes.lua)."""
PAGE_SIZE = 1_000


async def read_contents(
    archive: Archive, zone: Zone, now_ms: int, *, after_seq: int = 0, jobs: Collection[str] | None = None
) -> AsyncIterator[Contents]:
    """Yield the quotes in pages, at the zone's time ``now_ms``. With ``jobs``, only those that were made after
    ``after_seq`` or that one of these jobs used up. Raises Unavailable.
    """
    columns, last = quotes.c, ""
    wanted: list[Any] = [columns.zone == zone, columns.expires_at > now_ms - KEPT_MS]
    if jobs is not None:
        wanted.append(or_(columns.seq > after_seq, columns.job.in_(jobs)))
    while True:
        query = select(quotes).where(*wanted, columns.id > last).order_by(columns.id).limit(PAGE_SIZE)
        async with archive.begin_read() as conn:
            rows = (await conn.execute(query)).all()
        if not rows:
            return
        yield dict(_content_of(zone, row) for row in rows)
        last = rows[-1].id


def _content_of(zone: Zone, row: Any) -> tuple[str, KeyContent]:
    fields = {"quote": row.doc[1:-1], "customer": row.customer, "expires": str(row.expires_at), "used": row.job or ""}
    return keys.quote(zone, row.id), KeyContent("hash", fields, row.expires_at + KEPT_MS)
