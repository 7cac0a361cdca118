"""Close a zone whose log contradicts the archive, so that its events cannot be archived. If the zone stayed open, the
effects of further commands would be lost.
"""

from __future__ import annotations

import structlog

from engine.archive.foreign_rows import find_foreign_row
from engine.sql.database import Archive
from engine.store import keys
from engine.store.connection import Store
from engine.types import Epoch, Zone
from engine.zone import log as zone_log
from engine.zone import opening, records

FOREIGN_ROW = "FOREIGN_ROW"
"""The reason why a zone is closed if SQL already has a row with the seq of the next event. ``zone_open`` cannot notice
such a row.
"""

log = structlog.get_logger(__name__)


async def close_zone(store: Store, archive: Archive, zone: Zone) -> None:
    """Close the zone for every process if Redis and the database contradict each other. Call this if the archiver
    cannot continue because of it. Raises Unavailable, Indeterminate.
    """
    at = (await records.read_records(archive, [zone]))[zone]
    answer = await opening.compare_with_sql(
        store, store.zones[zone].shard.pipeline.submit, zone, store.run_id_of(zone), "look", at
    )
    word = FOREIGN_ROW if answer.word == "OK" and await _has_foreign_row(store, archive, zone) else answer.word
    if word != "OK":
        await store.run(zone, "zone_close", keys={"meta": keys.zone_meta(zone)}, args={"why": word})
        store.close_zone(zone, opening.CLOSED_REASONS[word], word)


async def open_zone_without_foreign_row(store: Store, archive: Archive, zone: Zone) -> bool:
    """Open a zone that is closed because of a foreign row, if the row is gone. Return False otherwise. Raises
    Unavailable, Indeterminate.
    """
    if await _has_foreign_row(store, archive, zone):
        return False
    scripts, names = store.scripts, {"meta": keys.zone_meta(zone)}
    call = scripts["zone_close"].call(names, {"why": "MENDED"}, Epoch("closed"))
    await store.send_call(store.zones[zone].shard.pipeline.submit, "zone_close", call)
    log.warning("foreign_row_gone", zone=zone)
    await store.reopen(zone, stale=store.zones[zone].epoch)
    return store.zones[zone].open


async def _has_foreign_row(store: Store, archive: Archive, zone: Zone) -> bool:
    """Return whether the database already has a row with the seq of the event that is archived next."""
    archived = (await records.read_records(archive, [zone]))[zone].archived
    event = await zone_log.read_event(store.read_connection, zone, archived + 1)
    return event is not None and await find_foreign_row(archive, event) is not None
