"""The paths that technicians travelled for jobs, as SQL stores them: thinned, one row for each job and technician.

No event contains a position, so these rows cannot be computed from the log. They are copied from Redis, and deleted
after the retention time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.paths import PathPoint, extend_path
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.path_tables import job_paths
from engine.types import JobId, TechnicianId

_points_decoder = msgspec.json.Decoder(list[PathPoint])


async def read_path(archive: Archive, job: JobId, technician: TechnicianId) -> list[PathPoint]:
    """Return the stored path of a technician on a job; [] if there is none."""
    async with archive.begin_read() as conn:
        return await _select_path(conn, job, technician)


async def append_path(archive: Archive, job: JobId, technician: TechnicianId, points: Sequence[PathPoint]) -> None:
    """Append points to the stored path, and thin it. Points that are not newer than the end of the path are left out,
    because they are stored already. So a repeated call changes nothing.
    """
    async with archive.begin_write() as conn:
        path = extend_path(await _select_path(conn, job, technician, lock=True), points)
        if path:
            row = {"last_at": path[-1].at, "points": msgspec.json.encode(path).decode()}
            new = insert_into(archive, job_paths).values(job=job, technician=technician, **row)
            await conn.execute(new.on_conflict_do_update(index_elements=["job", "technician"], set_=row))


async def delete_paths_before(archive: Archive, before: int) -> int:
    """Delete the paths whose last point was measured before ``before`` (ms since the Unix epoch). Return their
    number.
    """
    async with archive.begin_write() as conn:
        return (await conn.execute(delete(job_paths).where(job_paths.c.last_at < before))).rowcount


async def _select_path(
    conn: AsyncConnection, job: JobId, technician: TechnicianId, *, lock: bool = False
) -> list[PathPoint]:
    """Return the stored path. With ``lock``, other writers of the row wait until the transaction ends."""
    query = select(job_paths.c.points).where(job_paths.c.job == job, job_paths.c.technician == technician)
    points = (await conn.execute(query.with_for_update() if lock else query)).scalar()
    return _points_decoder.decode(points) if points else []
