"""Delete files that stayed unattached, and blobs that no row names. Several processes may do this at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.domain.archive_lag import read_lag
from engine.files import deferred_rows, file_rows, uploads
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_LAG_S = 3600.0
"""While SQL is so far behind the log of a zone, no file of the zone is deleted: an event that is not archived yet may
attach the file.
"""


async def run_once(engine: Engine) -> int:
    """Delete a batch of unattached files and a batch of released blobs. Return the number of deleted files and blobs.
    Raises Unavailable.
    """
    deleted = await asyncio.to_thread(uploads.delete_old_uploads, engine.blobs.temporary)
    await deferred_rows.insert_deferred(engine.archive, engine.blobs.temporary)
    deleted += await file_rows.delete_unattached(engine.archive, await _archived_zones(engine))
    for sha256, at in await file_rows.released_blobs(engine.archive):
        deleted += await file_rows.end_release(engine.archive, sha256, at, engine.blobs.delete)
    return deleted


async def _archived_zones(engine: Engine) -> list[Zone]:
    """Return the open zones that SQL is not far behind. The files of other zones wait."""
    zones = [zone for zone, state in engine.store.zones.items() if state.open]
    return [zone for zone in zones if (await read_lag(engine, zone)).seconds <= MAX_LAG_S]
