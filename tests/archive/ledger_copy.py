"""Read the whole ledger of a database, and write it anew from the archived events."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import insert, select

from engine.archive import ledger_refill, reader
from engine.process.settings import Settings
from engine.sql.database import Archive, open_archive
from engine.sql.ledger_tables import ledger_entries, ledger_lines
from engine.sql.schema import checkpoints, epochs, events
from engine.types import DEFAULT_ZONE


async def read_ledger(archive: Archive) -> list[list[tuple[Any, ...]]]:
    """Return all entries and lines."""
    async with archive.begin_read() as conn:
        return [
            [tuple(row) for row in await conn.execute(select(table).order_by(*table.primary_key.columns))]
            for table in (ledger_entries, ledger_lines)
        ]


async def write_anew(archive: Archive, folder: Path) -> list[list[tuple[Any, ...]]]:
    """Copy the events to an empty database, write its ledger from them, and return all entries and lines."""
    copy = await open_archive(Settings(data=str(folder)))
    for table in (checkpoints, epochs, events):
        async with archive.begin_read() as conn:
            rows = [dict(row) for row in (await conn.execute(select(table))).mappings()]
        async with copy.begin_write() as conn:
            await conn.execute(insert(table), rows)
    with mock.patch.object(ledger_refill, "PAGE_SIZE", 7):
        await ledger_refill.refill(copy, DEFAULT_ZONE, await reader.checkpoint(copy, DEFAULT_ZONE))
    written = await read_ledger(copy)
    await copy.close()
    return written
