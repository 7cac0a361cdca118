"""The control of a zone through SQL: whether an operator has closed the zone, and which process rebuilds it.

The lock of a rebuild is a lease: a process that dies holds it no longer than ``LEASE_MS``. The lock only saves work.
Two processes that both believed in it could not do harm, because a script accepts the writes of one of them alone
(lua/zone_rebuild.lua).
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import delete, insert, or_, select, update

from engine.clock import now_ms
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.schema import checkpoints, deployment, epochs
from engine.sql.zone_tables import zone_controls
from engine.types import Epoch, Zone, epoch_number
from engine.zone.records import ZoneRecord, read_record

LEASE_MS = 15_000
"""How long a process holds the lock of a rebuild without renewing it."""
FENCE_SUFFIX = "-rebuild"
"""The end of the name of an epoch that a rebuild has recorded in SQL. No log ever has such an epoch."""


async def take_lock(archive: Archive, zone: Zone, holder: str) -> bool:
    """Take or renew the lock of the zone's rebuild. Return False if another process holds it. Raises Unavailable,
    Indeterminate.
    """
    now, columns = now_ms(), zone_controls.c
    first = partial(insert_into, archive)(zone_controls).values(zone=zone, paused=False).on_conflict_do_nothing()
    is_free = or_(columns.holder.is_(None), columns.holder == holder, columns.expires_at < now)
    taken = update(zone_controls).where(columns.zone == zone, is_free)
    async with archive.begin_write() as conn:
        await conn.execute(first)
        return (await conn.execute(taken.values(holder=holder, expires_at=now + LEASE_MS))).rowcount == 1


async def release_lock(archive: Archive, zone: Zone, holder: str) -> None:
    """Release the lock, if this process still holds it. Raises Unavailable, Indeterminate."""
    mine = (zone_controls.c.zone == zone) & (zone_controls.c.holder == holder)
    async with archive.begin_write() as conn:
        await conn.execute(update(zone_controls).where(mine).values(holder=None, expires_at=None))


async def set_paused(archive: Archive, zone: Zone, *, paused: bool) -> None:
    """Record that an operator has closed the zone, or has opened it again. Raises Unavailable, Indeterminate."""
    row = insert_into(archive, zone_controls).values(zone=zone, paused=paused)
    async with archive.begin_write() as conn:
        await conn.execute(row.on_conflict_do_update(index_elements=["zone"], set_={"paused": paused}))


async def fence_archive(archive: Archive, zone: Zone) -> ZoneRecord:
    """Record an epoch that no log has, so that no archiver of another Redis can append to the archive from now on.
    Return the zone's record without this epoch. The epoch is deleted when the zone opens (``record_epochs``), or if the
    rebuild is given up (``lift_fences``).

    The checkpoint's row is locked first: a batch that an archiver has begun to apply is then in the record, and a later
    one is refused because of the epoch. Raises Unavailable, Indeterminate.
    """
    async with archive.begin_write() as conn:
        await conn.execute(select(checkpoints.c.seq).where(checkpoints.c.zone == zone).with_for_update())
        await conn.execute(select(deployment.c.id).with_for_update())
        record = await read_record(conn, zone)
        number = max(map(epoch_number, record.epochs), default=0) + 1
        fence = {"zone": zone, "epoch": f"e{number}{FENCE_SUFFIX}", "first_seq": record.archived + 1}
        await conn.execute(insert(epochs).values(fence))
    begun: dict[Epoch, int] = {name: first for name, first in record.epochs.items() if first <= record.archived}
    return record._replace(epochs=begun)


def without_fences(record: ZoneRecord) -> ZoneRecord:
    """Return the record without the epochs of rebuilds that have not ended."""
    opened = {name: first for name, first in record.epochs.items() if not name.endswith(FENCE_SUFFIX)}
    return record._replace(epochs=opened)


async def lift_fences(archive: Archive, zone: Zone, before: ZoneRecord) -> bool:
    """Delete the epochs of rebuilds that have not ended. The caller holds the lock, so no rebuild is running. Return
    False if the zone's record is not ``before`` any more. Raises Unavailable, Indeterminate.
    """
    async with archive.begin_write() as conn:
        await conn.execute(select(deployment.c.id).with_for_update())
        if await read_record(conn, zone) != before:
            return False
        fences = (epochs.c.zone == zone) & epochs.c.epoch.endswith(FENCE_SUFFIX, autoescape=True)
        await conn.execute(delete(epochs).where(fences))
    return True
