"""Rows of files that could not be inserted while SQL was unavailable. Each is stored as a local file, a *note*, until a
chore of the same process inserts the row. Without the note no row would name the blob, and no chore would delete it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import structlog

from engine.files import file_rows
from engine.files.blob_errors import os_errors_as_unavailable
from engine.files.file_rows import FileRow
from engine.files.local_blobs import make_folder
from engine.sql.database import Archive

FOLDER = "rows"
"""The folder of the notes, inside the folder of incomplete uploads."""

log = structlog.get_logger(__name__)


async def defer_row(temporary: Path, row: FileRow) -> None:
    """Store a row in a note, for a later insertion. Raises Unavailable."""
    with os_errors_as_unavailable():
        await asyncio.to_thread(_write_note, temporary / FOLDER, row)


async def insert_deferred(archive: Archive, temporary: Path) -> int:
    """Insert the rows of all notes. Return their number. Raises Unavailable, Indeterminate."""
    notes = await asyncio.to_thread(_list_notes, temporary / FOLDER)
    for path in notes:
        try:
            row = msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=FileRow)
        except FileNotFoundError:
            continue  # another process of this host has inserted the row
        except msgspec.DecodeError as error:  # the disk was full when the note was written, before the blob was stored
            log.error("deferred_row_unreadable", path=str(path), error=str(error))
        else:
            await file_rows.store_row(archive, row, is_bounded=False)  # its blob is stored already
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return len(notes)


def _write_note(folder: Path, row: FileRow) -> None:
    draft = make_folder(folder) / f"{row.id}.draft"
    draft.write_bytes(msgspec.json.encode(row))
    draft.replace(folder / f"{row.id}.json")


def _list_notes(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else []
