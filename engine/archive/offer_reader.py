"""Queries on the archived offers. All functions raise Unavailable."""

from __future__ import annotations

from sqlalchemy import select

from engine.sql.database import Archive
from engine.sql.schema import bids, offers
from engine.types import JobId


async def was_offered(archive: Archive, job: JobId, technician: str) -> bool:
    """Return whether the job was offered to the technician, or the technician has bid for it."""
    async with archive.begin_read() as conn:
        for table in (offers, bids):
            mine = (table.c.job == job, table.c.technician == technician)
            if (await conn.execute(select(table.c.job).where(*mine).limit(1))).first() is not None:
                return True
    return False
