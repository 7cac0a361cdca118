"""Queries on the archived offers and waves. All functions raise Unavailable."""

from __future__ import annotations

from collections import Counter

import msgspec
from sqlalchemy import func, select

from engine.sql.database import Archive
from engine.sql.job_tables import job_states
from engine.sql.schema import bids, offers
from engine.types import JobId

HAS_WAVES = job_states.c.state.contains('"waves":[')
"""The condition for rows of ``job_states`` that record waves. These rows stay when the job is over."""


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


async def read_status(archive: Archive, job: JobId, technician: str) -> str:
    """Return the status of the archived offer of a job to a technician; "" if the technician had no offer."""
    mine = (offers.c.job == job, offers.c.technician == technician)
    async with archive.begin_read() as conn:
        return (await conn.execute(select(offers.c.status).where(*mine))).scalar_one_or_none() or ""


async def count_outcomes(archive: Archive, technician: str, since: int) -> dict[str, int]:
    """Count the offers to a technician since a time (ms) by their outcome: ``accepted``, ``rejected``, ``open``, or the
    reason why the offer closed (``expired``, ``taken``, ``cancelled``, ``withdrawn``, ``reassigned``, ``left``).
    """
    reason = func.coalesce(offers.c.reason, "expired")
    query = select(offers.c.status, reason, func.count()).group_by(offers.c.status, reason)
    query = query.where(offers.c.technician == technician, offers.c.offered_at >= since)
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
    counts: Counter[str] = Counter()
    for status, why, count in rows:
        counts[{"sent": "open", "expired": why}.get(status, status)] += count
    return dict(counts)
