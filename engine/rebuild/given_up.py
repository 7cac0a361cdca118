"""Open a zone that only a rebuild keeps closed that was given up.

The address of Redis leads to another server for a while, which lacks what SQL has: a process begins to write that
server anew, and the address leads back before it has ended. The epoch by which the rebuild has fenced the archive is
then newer than all epochs of this Redis. No command ever ran in it, so this Redis is not older than any other.
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
    """Open the zone if Redis agrees with SQL but for the epochs of rebuilds that do not go on. Return False otherwise:
    another server was opened since, or a process writes one anew. Raises Unavailable, Indeterminate.
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
