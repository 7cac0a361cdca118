"""Delete files that stayed unattached, and blobs that no row names. Several processes may do this at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.domain.archive_lag import read_lag
from engine.files import deferred_rows, file_rows, uploads

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_LAG_S = 3600.0
"""While SQL is so far behind a log, no file is deleted: the log may say on what it hangs."""


async def run_once(engine: Engine) -> int:
    """Delete a batch of unattached files and a batch of released blobs. Return the number of deleted files and blobs.
    Raises Unavailable.
    """
    deleted = await asyncio.to_thread(uploads.delete_old_uploads, engine.blobs.temporary)
    await deferred_rows.insert_deferred(engine.archive, engine.blobs.temporary)
    if not await _is_archive_behind(engine):
        deleted += await file_rows.delete_unattached(engine.archive)
    for sha256, at in await file_rows.released_blobs(engine.archive):
        deleted += await file_rows.end_release(engine.archive, sha256, at, engine.blobs.delete)
    return deleted


async def _is_archive_behind(engine: Engine) -> bool:
    zones = [zone for zone, state in engine.store.zones.items() if state.open]
    if len(zones) < len(engine.store.zones):
        return True
    return any([(await read_lag(engine, zone)).seconds > MAX_LAG_S for zone in zones])
