"""Write to SQL to which job, message or profile each file is attached, from the events that attached it."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.file_projection import Row
from engine.sql.file_tables import files


async def apply_rows(conn: AsyncConnection, attached: Mapping[str, Row]) -> None:
    """Write the attachments of files in the transaction of their batch of events."""
    if attached:
        change = update(files).where(files.c.id == bindparam("file"))
        await conn.execute(change.values(attached_at=bindparam("at"), n=bindparam("number")), list(attached.values()))
