"""Queries on the archived offers and waves. All functions raise Unavailable."""

from __future__ import annotations

import msgspec
from sqlalchemy import select

from engine.sql.database import Archive
from engine.sql.job_tables import job_states
from engine.sql.schema import bids, offers
from engine.types import JobId

HAS_WAVES = job_states.c.state.contains('"waves":[')
"""The condition for rows that record waves. They stay when a job is over."""


class _Waves(msgspec.Struct):
    waves: list[msgspec.Raw] = []


_waves_decoder = msgspec.json.Decoder(_Waves)


async def was_offered(archive: Archive, job: JobId, technician: str) -> bool:
    """Return whether the job was offered to the technician, or the technician has bid for it."""
    async with archive.begin_read() as conn:
        for table in (offers, bids):
            mine = (table.c.job == job, table.c.technician == technician)
            if (await conn.execute(select(table.c.job).where(*mine).limit(1))).first() is not None:
                return True
    return False


async def read_waves(archive: Archive, job: JobId) -> list[bytes]:
    """Return the archived records of a job's waves as JSON, the first wave first."""
    columns = job_states.c
    query = select(columns.state).where(columns.job == job, HAS_WAVES).order_by(columns.seq)
    async with archive.begin_read() as conn:
        texts = (await conn.execute(query)).scalars().all()
    return list(dict.fromkeys(bytes(record) for text in texts for record in _waves_decoder.decode(text).waves))
