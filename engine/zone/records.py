"""The database's record of each zone's log: what the log in Redis must agree with. Redis is compared with the record
before a zone opens. Four short queries read the records of any number of zones.

An epoch is recorded when it opens, before any command runs in it. So the newest epoch is a fence: a Redis server that
lacks it was replaced by a failover, whichever of the two servers was archived last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.sql.database import Archive
from engine.sql.schema import checkpoints, deployment, epochs
from engine.sql.zone_tables import zone_controls
from engine.types import Epoch, Zone


class ZoneRecord(NamedTuple):
    """The database's record of one zone's log: ``database`` is the id of the database, ``archived`` the seq of the last
    event that it has, ``epochs`` the first seq of each epoch that was opened with it. ``paused``: an operator has
    closed the zone. ``format``: what its writers must know.
    """

    database: str
    archived: int
    epochs: Mapping[Epoch, int]
    paused: bool = False
    format: int = 1


async def read_records(archive: Archive, zones: Iterable[Zone]) -> dict[Zone, ZoneRecord]:
    """Return the record of each zone's log, all from one state of the database. Raises Unavailable."""
    async with archive.begin_read() as conn:
        return await _read_records(conn, list(zones))


async def read_archived_seqs(archive: Archive) -> dict[Zone, int]:
    """Return the seq up to which each zone is archived. A zone without archived events is not in the result."""
    async with archive.begin_read() as conn:
        rows = await conn.execute(select(checkpoints.c.zone, checkpoints.c.seq))
    return {Zone(row.zone): row.seq for row in rows}


async def record_epochs(archive: Archive, zone: Zone, before: ZoneRecord, in_redis: Mapping[Epoch, int]) -> bool:
    """Record the epochs of ``in_redis``. Delete recorded epochs that Redis has lost and that have no archived event.

    Return False if the zone must be compared again: another server has written since ``before`` was read, or events
    were archived since then whose seqs a new epoch repeats. Raises Unavailable, Indeterminate.
    """
    async with archive.begin_write() as conn:
        await conn.execute(select(deployment.c.id).with_for_update())
        # An archiver locks the checkpoint first: it commits before this transaction, or finds the new epochs.
        await conn.execute(select(checkpoints.c.seq).where(checkpoints.c.zone == zone).with_for_update())
        now = await read_record(conn, zone)
        begun = [first for epoch, first in in_redis.items() if epoch not in now.epochs]
        if now.epochs != before.epochs or min(begun, default=now.archived + 1) <= now.archived:
            return False
        lost = [name for name, first in now.epochs.items() if name not in in_redis and first > now.archived]
        await conn.execute(delete(epochs).where(epochs.c.zone == zone, epochs.c.epoch.in_(lost)))
        new = [{"zone": zone, "epoch": e, "first_seq": first} for e, first in in_redis.items() if e not in now.epochs]
        if new:
            await conn.execute(insert(epochs), new)
    return True


async def read_record(conn: AsyncConnection, zone: Zone) -> ZoneRecord:
    """Return the record of one zone's log, as ``conn`` sees it."""
    return (await _read_records(conn, [zone]))[zone]


async def _read_records(conn: AsyncConnection, zones: list[Zone]) -> dict[Zone, ZoneRecord]:
    database = (await conn.execute(select(func.coalesce(deployment.c.copy, deployment.c.id)))).scalar_one()
    marks = select(checkpoints.c.zone, checkpoints.c.seq, checkpoints.c.format).where(checkpoints.c.zone.in_(zones))
    checkpoint_of = {row.zone: row for row in await conn.execute(marks)}
    first_seqs: dict[Zone, dict[Epoch, int]] = {zone: {} for zone in zones}
    for row in await conn.execute(select(epochs).where(epochs.c.zone.in_(zones))):
        first_seqs[Zone(row.zone)][Epoch(row.epoch)] = row.first_seq
    controls = select(zone_controls.c.zone).where(zone_controls.c.zone.in_(zones), zone_controls.c.paused)
    paused = set((await conn.execute(controls)).scalars())
    found: dict[Zone, ZoneRecord] = {}
    for zone, first_seq_of in first_seqs.items():
        mark = checkpoint_of.get(zone)
        seq, format_ = (mark.seq, mark.format) if mark else (0, 1)
        found[zone] = ZoneRecord(database, seq, first_seq_of, zone in paused, format_)
    return found
