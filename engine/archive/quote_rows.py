"""Write the folded rows of quotes to SQL."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.quote_projection import QuoteRows
from engine.sql.quote_tables import quotes


async def apply_rows(conn: AsyncConnection, rows: QuoteRows) -> None:
    """Insert the new quotes, and write to each used quote the job that used it up."""
    new = [{**row, "job": rows.jobs.get(name)} for name, row in rows.new.items()]
    if new:
        await conn.execute(insert(quotes), new)
    used = [{"quote": name, "by": job} for name, job in rows.jobs.items() if name not in rows.new]
    if used:
        await conn.execute(update(quotes).where(quotes.c.id == bindparam("quote")).values(job=bindparam("by")), used)
