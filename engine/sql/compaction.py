"""Rewrite an SQLite database, so that its file has no bytes of deleted rows.

PostgreSQL's rows are removed from its files by VACUUM, which is the operator's (docs/erasure.md): VACUUM FULL locks
each table, and autovacuum does the rest with time.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from engine.errors import Unavailable
from engine.sql.database import Archive

BUSY_TIMEOUT_S = 30.0


async def compact(archive: Archive) -> None:
    """Rewrite the database's file and empty its write-ahead log. Other writers wait meanwhile. Raises Unavailable if
    another process uses the database for too long. Does nothing on PostgreSQL.
    """
    if not archive.is_sqlite or archive.url.database is None:
        return
    async with archive.writers:
        try:
            await asyncio.to_thread(_compact_file, archive.url.database)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"The database was not compacted: {error}") from error


def _compact_file(path: str) -> None:
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("the write-ahead log is in use")
