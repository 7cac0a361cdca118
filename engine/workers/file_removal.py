"""Delete files that hang on nothing, and bytes that no row names. Any number of processes may do so at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from engine.files import file_rows, uploads
from engine.files.blob_errors import BlobMissing
from engine.workers.archive_lag import read_lag

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_LAG_S = 3600.0
"""While SQL is so far behind a log, no file is deleted: the log may say on what it hangs."""


async def run_once(engine: Engine) -> int:
    """Delete what is too old and what is released. Return the number of files and blobs. Raises Unavailable."""
    deleted = await asyncio.to_thread(uploads.delete_old_uploads, engine.blobs.temporary)
    if not await _is_archive_behind(engine):
        deleted += await file_rows.delete_unattached(engine.archive)
    for sha256, at in await file_rows.released_blobs(engine.archive):
        deleted += await _delete_blob(engine, sha256)
        await file_rows.end_release(engine.archive, sha256, at)
    return deleted


async def _is_archive_behind(engine: Engine) -> bool:
    zones = [zone for zone, state in engine.store.zones.items() if state.open]
    if len(zones) < len(engine.store.zones):
        return True
    return any([(await read_lag(engine, zone)).seconds > MAX_LAG_S for zone in zones])


async def _delete_blob(engine: Engine, sha256: str) -> bool:
    """Delete a blob if no row names it. Return whether it was deleted.

    An upload of the same bytes inserts its row before it stores them. If its row is there after the deletion, the bytes
    may have been stored before it, and are put back; if its row comes later, the upload stores them itself.
    """
    with suppress(BlobMissing):
        if await file_rows.is_named(engine.archive, sha256):
            return False
        data = await engine.blobs.read(sha256)
        await engine.blobs.delete(sha256)
        if not await file_rows.is_named(engine.archive, sha256):
            return True
        await engine.blobs.put(sha256, data)
    return False
