"""The path of a technician on a job, from Redis and SQL, for users who may see where the technician was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.archive import paths
from engine.rules.paths import PathPoint, extend_path
from engine.store import keys
from engine.types import JobId, TechnicianId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


async def read_path(engine: Engine, zone: Zone, job: JobId, technician: TechnicianId) -> list[PathPoint]:
    """Return the path of a technician on a job, thinned: the part in SQL and the latest positions, which are in Redis.

    Redis is read first: a point that is moved to SQL between the two reads is then in both, and counts once. Raises
    Unavailable if the database is away.
    """
    texts = await engine.store.command("LRANGE", keys.path(zone, job, technician), 0, -1)
    latest = [parse_point(text) for text in texts]
    return extend_path(await paths.read_path(engine.archive, job, technician), latest)


def parse_point(text: bytes) -> PathPoint:
    """Return the point that lua/lib/path.lua packed."""
    lat, lon, at = text.split()
    return PathPoint(float(lat), float(lon), int(at))
