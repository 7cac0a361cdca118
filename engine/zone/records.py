"""What the database says of each zone's log, to be compared with Redis before a zone opens: two point reads.

An epoch is written here when it opens, before anything is done in it. So the newest one is a fence: a server that lacks
it was passed over by a failover, whichever of the two was archived last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.sql.database import Archive
from engine.sql.schema import checkpoints, deployment, epochs
from engine.types import Epoch, Zone


class Standing(NamedTuple):
    """``database`` is the id of this database; ``epochs`` the first seq of each epoch that opened over it."""

    database: str
    archived: int
    epochs: Mapping[Epoch, int]


async def of(archive: Archive, zones: Iterable[Zone]) -> dict[Zone, Standing]:
    """What is known of ``zones``, in one state of the database. Raises Unavailable."""
    async with archive.reading() as conn:
        return {zone: await _read(conn, zone) for zone in zones}


async def begin(archive: Archive, zone: Zone, before: Standing, lives: Mapping[Epoch, int]) -> bool:
    """Write the epochs that opened. Those of which nothing is archived and that Redis has lost are over.

    False where another server wrote since ``before``: then all must be compared again. Raises Unavailable,
    Indeterminate.
    """
    async with archive.writing() as conn:
        await conn.execute(select(deployment.c.id).with_for_update())
        now = await _read(conn, zone)
        if now.epochs != before.epochs:
            return False
        lost = [name for name, first in now.epochs.items() if name not in lives and first > now.archived]
        await conn.execute(delete(epochs).where(epochs.c.zone == zone, epochs.c.epoch.in_(lost)))
        new = [{"zone": zone, "epoch": e, "first_seq": first} for e, first in lives.items() if e not in now.epochs]
        if new:
            await conn.execute(insert(epochs), new)
    return True


async def _read(conn: AsyncConnection, zone: Zone) -> Standing:
    database = (await conn.execute(select(deployment.c.id))).scalar_one()
    archived = (await conn.execute(select(checkpoints.c.seq).where(checkpoints.c.zone == zone))).scalar()
    rows = await conn.execute(select(epochs.c.epoch, epochs.c.first_seq).where(epochs.c.zone == zone))
    return Standing(database, archived or 0, {Epoch(row.epoch): row.first_seq for row in rows})
