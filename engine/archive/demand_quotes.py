"""Count the quotes that were not booked. They show demand too.

A customer counts once for each cell and ten minutes, even if they request several quotes. A booking with a quote counts
as a booking, and subtracts 1 from the count of quotes in the hour of the booking. So the counts of earlier hours never
change.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.demand_projection import DemandCounts, QuotedPlace
from engine.events import ms_of
from engine.rules.pulse import cell_at
from engine.sql.quote_tables import quotes
from engine.types import Zone

SPAN_MS = 600_000
"""A customer counts once in a cell in each span of this length, counted from the Unix epoch."""


class _QuoteDocument(msgspec.Struct):
    lat: float
    lon: float
    created_at: str
    postal_code: str | None = None


_decoder = msgspec.json.Decoder(_QuoteDocument)


async def count_quotes(conn: AsyncConnection, zone: Zone, folded: DemandCounts) -> DemandCounts:
    """Return the counts of ``folded``, with its quotes added. Call this before these quotes are written to SQL or
    marked as used there.
    """
    if not folded.quoted and not folded.used:
        return folded
    counts = DemandCounts({key: list(row) for key, row in folded.counts.items()})
    known = await _read_recent(conn, zone, folded)
    unused = {place.quote: place for place in folded.quoted}
    unused |= await _read_unused(conn, set(folded.used) - unused.keys())
    for place in folded.quoted:
        asked = (place.customer, place.cell, place.at // SPAN_MS)
        if asked not in known:
            known.add(asked)
            counts.add_place(place.cell, place.code, place.at, "quoted")
    for quote, at in folded.used.items():
        if found := unused.get(quote):
            counts.add_place(found.cell, found.code, at, "quoted", -1)
    return counts


async def _read_recent(conn: AsyncConnection, zone: Zone, folded: DemandCounts) -> set[tuple[str, str, int]]:
    """Return (customer, cell, span) of each quote in SQL that may be in the same span of ten minutes as a quote of
    ``folded``.
    """
    if not folded.quoted:
        return set()
    columns, first = quotes.c, min(place.at for place in folded.quoted)
    customers = {place.customer for place in folded.quoted}
    # A quote of the same span was created less than SPAN_MS before ``first``, and expires after its creation.
    here = (columns.zone == zone, columns.customer.in_(customers), columns.expires_at > first - SPAN_MS)
    rows = (await conn.execute(select(columns.id, columns.customer, columns.doc).where(*here))).all()
    places = (_place_of(row.id, row.customer, row.doc) for row in rows)
    return {(place.customer, place.cell, place.at // SPAN_MS) for place in places}


async def _read_unused(conn: AsyncConnection, names: set[str]) -> dict[str, QuotedPlace]:
    """Return which of these quotes no booking and no edit has used up."""
    if not names:
        return {}
    columns = quotes.c
    query = select(columns.id, columns.customer, columns.doc).where(columns.id.in_(names), columns.job.is_(None))
    return {row.id: _place_of(row.id, row.customer, row.doc) for row in await conn.execute(query)}


def _place_of(quote: str, customer: str, document: str) -> QuotedPlace:
    doc = _decoder.decode(document)
    return QuotedPlace(
        quote, customer, ms_of(doc.created_at), cell_at(doc.lat, doc.lon), (doc.postal_code or "").strip()
    )
