"""The database's record of a zone's epochs is the fence between a replaced Redis and its successor."""

from __future__ import annotations

import asyncio

from sqlalchemy import insert, update

from engine.sql.database import Archive
from engine.sql.schema import checkpoints
from engine.sql.schema import epochs as epochs_table
from engine.types import DEFAULT_ZONE, Epoch
from engine.zone import records

FIRST, SECOND = Epoch("e1-aaaaaaaa"), Epoch("e2-bbbbbbbb")


async def test_an_epoch_that_repeats_an_archived_seq_is_not_recorded(archive: Archive) -> None:
    """While a promoted server is compared, the archiver of the replaced server commits one more event. The promoted
    server's epoch would repeat its seq, so the zone is compared again.
    """
    async with archive.begin_write() as conn:
        await conn.execute(insert(checkpoints).values(zone=DEFAULT_ZONE, epoch=FIRST, seq=94))
        await conn.execute(insert(epochs_table).values(zone=DEFAULT_ZONE, epoch=FIRST, first_seq=1))
    before = (await records.read_records(archive, [DEFAULT_ZONE]))[DEFAULT_ZONE]
    async with archive.begin_write() as conn:
        await conn.execute(update(checkpoints).values(seq=95))
        recording = asyncio.create_task(
            records.record_epochs(archive, DEFAULT_ZONE, before, {FIRST: 1, SECOND: 95}), name="the promoted server"
        )
        await asyncio.sleep(0.1)
        assert not recording.done()  # the recording waits for the archiver's transaction
    assert await recording is False
    now = (await records.read_records(archive, [DEFAULT_ZONE]))[DEFAULT_ZONE]
    assert now.epochs == {FIRST: 1}
    assert await records.record_epochs(archive, DEFAULT_ZONE, now, {FIRST: 1, SECOND: 96})
