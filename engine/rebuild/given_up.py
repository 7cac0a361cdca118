"""Open a zone that is closed only because of a rebuild that was abandoned.

Example: the address of Redis leads for a while to another server, which lacks what SQL has. A process begins to rebuild
the zone on that server, and the address leads back before the process has ended. The rebuild has recorded an epoch in
SQL that is newer than all epochs of this Redis. No command ever ran in that epoch, so no other Redis has newer events
than this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from engine.types import Zone, new_id
from engine.zone import control, opening, records

if TYPE_CHECKING:
    from engine.runtime import Engine

log = structlog.get_logger(__name__)


async def open_zone(engine: Engine, zone: Zone) -> bool:
    """Open the zone if Redis agrees with SQL except for the epochs of rebuilds that were given up. Return whether the
    zone is open. It stays closed if it was opened on another Redis since, or if a process rebuilds it now. Raises
    Unavailable, Indeterminate.
    """
    archive, store, holder = engine.archive, engine.store, new_id("node")
    record = (await records.read_records(archive, [zone]))[zone]
    opened = control.without_fences(record)
    if opened == record or not await control.take_lock(archive, zone, holder):
        return False
    try:
        answer = await opening.compare_with_sql(
            store, store.zones[zone].shard.pipeline.submit, zone, store.run_id_of(zone), "look", opened
        )
        if answer.word != "OK" or not await control.lift_fences(archive, zone, record):
            return False
    finally:
        await control.release_lock(archive, zone, holder)
    log.warning("zone_rebuild_given_up", zone=zone, epoch=answer.epoch, seq=answer.seq)
    await store.reopen(zone, stale=store.zones[zone].epoch)
    return store.zones[zone].open
