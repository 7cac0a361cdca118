"""Notify Redis of finished jobs that SQL has, so that their keys may expire.

The notice is no event of the log. A Redis that comes back without its newest changes may have lost notices of jobs that
SQL marks as notified: these jobs would stay in Redis forever. So each new epoch repeats them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from engine.archive.projection import FINISHED_PHASES
from engine.sql.database import Archive
from engine.sql.schema import jobs
from engine.store import keys
from engine.store.connection import Store
from engine.types import JobId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

JOBS_PER_SCAN = 1_000


async def notify_redis(store: Store, zone: Zone, finished: Iterable[str]) -> dict[str, bool]:
    """Notify Redis that SQL has these finished jobs. Return whether each is finished in Redis too."""
    names, ids = {"meta": keys.zone_meta(zone), "jobs": keys.jobs(zone)}, list(finished)
    places = ((job, names | {"job": keys.job(zone, JobId(job))}) for job in ids)
    told = await asyncio.gather(*(store.run(zone, "job_archived", keys=at, args={"id": job}) for job, at in places))
    return {job: reply.values[0] == b"0" for job, reply in zip(ids, told, strict=True)}


async def repeat_lost_notices(engine: Engine, zone: Zone) -> int:
    """Notify Redis again of the finished jobs that it keeps although SQL marks them as notified. Return their number.
    Raises Unavailable, Indeterminate.
    """
    repeated = 0
    async for ids in _unnotified_jobs(engine.store, zone):
        repeated += len(await notify_redis(engine.store, zone, await _marked_jobs(engine.archive, ids)))
    return repeated


async def _unnotified_jobs(store: Store, zone: Zone) -> AsyncIterator[list[str]]:
    """Yield, in pages, the jobs that Redis does not know to be archived; also those that are not finished."""
    cursor: Any = 0
    while True:
        cursor, entries = await store.command("ZSCAN", keys.jobs(zone), cursor, "COUNT", JOBS_PER_SCAN)
        if entries:
            yield [entry.decode() for entry in entries[::2]]
        if cursor in (0, b"0"):
            return


async def _marked_jobs(archive: Archive, ids: Sequence[str]) -> Sequence[str]:
    """Return those of the jobs that are finished in SQL, and of which SQL has recorded that Redis was notified."""
    columns = jobs.c
    query = select(columns.id).where(columns.id.in_(ids), columns.hot.is_(False), columns.phase.in_(FINISHED_PHASES))
    async with archive.begin_read() as conn:
        return (await conn.execute(query)).scalars().all()
