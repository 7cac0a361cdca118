"""Copy positions from Redis to SQL: the latest one of each technician, and their paths on jobs.

No event contains positions. Therefore a failure may lose both. Redis has the points of a path for some minutes
(lua/lib/path.lua); the archiver of the zone moves them. The script removes from Redis only what SQL has, so that an
archiver that dies loses nothing. If two archivers move a path at once, each point is stored only once. While the
database is away, the points stay in Redis, up to a maximum number and for at most a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from engine.archive import apply, paths
from engine.archive.reader import ArchivedPosition
from engine.clock import now_ms
from engine.domain.paths import parse_point
from engine.process.loops import finish_uncancelled
from engine.store import keys
from engine.types import JobId, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

SNAPSHOT_PAGE_SIZE = 500
SNAPSHOT_MAX_COMMANDS = 16
SNAPSHOT_PAUSE_S = 0.005
MAX_PATHS_PER_PAGE = 64


async def store_positions(engine: Engine, zone: Zone) -> int:
    """Store the positions of all online technicians of the zone in SQL; return their number.

    The positions are read in pages, with few commands at once, because claims use the same connection and are more
    important. A technician who moves in the list between two pages may be missed until the next snapshot.
    """
    stored = first = 0
    while seen := await engine.store.command("ZRANGE", keys.last_seen(zone), first, first + SNAPSHOT_PAGE_SIZE - 1):
        positions = [position async for position in _read_positions(engine, zone, seen)]
        if positions:
            await finish_uncancelled(apply.store_positions(engine.archive, zone, positions))
        stored, first = stored + len(positions), first + SNAPSHOT_PAGE_SIZE
        await asyncio.sleep(SNAPSHOT_PAUSE_S)
    return stored


async def _read_positions(engine: Engine, zone: Zone, technicians: list[bytes]) -> AsyncIterator[ArchivedPosition]:
    """Yield the positions of these technicians. Those without a position are left out."""
    alive = [TechnicianId(UserId(name.decode())) for name in technicians]
    for start in range(0, len(alive), SNAPSHOT_MAX_COMMANDS):
        some = alive[start : start + SNAPSHOT_MAX_COMMANDS]
        reads = (engine.store.command("HMGET", keys.technician(zone, t), "lat", "lon", "fix_at") for t in some)
        for technician, (lat, lon, at) in zip(some, await asyncio.gather(*reads), strict=True):
            if lat and lon and at:
                yield ArchivedPosition(technician, float(lat), float(lon), int(float(at)))


async def move_paths(engine: Engine, zone: Zone, *, all_paths: bool = False) -> int:
    """Move the points of the zone's paths that are due (all paths with ``all_paths``) to SQL. Return their number."""
    now = await engine.store.command("HGET", keys.zone_meta(zone), "now")
    until: str | int = "+inf" if all_paths else int(now or 0)
    moved, query = 0, ("ZRANGEBYSCORE", keys.paths(zone), "-inf", until, "LIMIT", 0, MAX_PATHS_PER_PAGE)
    while entries := await engine.store.command(*query):
        for entry in entries:
            await _move_path(engine, zone, entry.decode())
        moved += len(entries)
    return moved


async def _move_path(engine: Engine, zone: Zone, entry: str) -> None:
    """Append the points of one path in Redis to its row in SQL, then remove them from Redis."""
    job, _, user = entry.partition(":")
    technician = TechnicianId(UserId(user))
    key = keys.path(zone, JobId(job), technician)
    points = [parse_point(text) for text in await engine.store.command("LRANGE", key, 0, -1)]
    if points:
        await finish_uncancelled(paths.append_path(engine.archive, JobId(job), technician, points))
    names = {"meta": keys.zone_meta(zone), "paths": keys.paths(zone), "path": key}
    until = max((point.at for point in points), default=0)
    await engine.store.run(zone, "path_trim", keys=names, args={"entry": entry, "until": until})


async def delete_old_paths(engine: Engine) -> int:
    """Delete the paths that are older than the setting ``path_retention_s``. Return their number."""
    return await paths.delete_paths_before(engine.archive, now_ms() - round(engine.settings.path_retention_s * 1000))
