"""Make a restored copy distinct from its original: its database gets a new id, and its Redis the same new id. The
leases of the processes that worked for the original are removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.process.datadir import create_directory
from engine.store import keys
from engine.types import Zone

if TYPE_CHECKING:
    from engine.sql.database import Archive

AOF = "appendonly.aof.1"


async def give_new_id(archive: Archive) -> str:
    """Give the database an id of its own, and return it. Raises Unavailable, Indeterminate."""
    from sqlalchemy import update

    from engine.sql.schema import deployment
    from engine.types import new_id

    copy = new_id("database")
    async with archive.begin_write() as conn:
        await conn.execute(update(deployment).values(copy=copy))
    return copy


async def read_zones(archive: Archive) -> list[Zone]:
    """Return the zones that were ever opened with the database. Raises Unavailable."""
    from sqlalchemy import select

    from engine.sql.schema import epochs

    async with archive.begin_read() as conn:
        return [Zone(zone) for zone in (await conn.execute(select(epochs.c.zone).distinct())).scalars()]


def put_redis_back(copy: Path, data: Path, zones: Iterable[Zone], database: str | None) -> None:
    """Write the copy of Redis to the data directory ``data``. Valkey loads an append-only file whose first part is in
    the RDB format, and then runs the commands of its second part: these commands end the leases, and record that Redis
    belongs to ``database`` (None: it belongs to the same database as before).
    """
    from engine.zone.leases import ROLES

    files = create_directory(create_directory(data / "valkey") / "appendonlydir")
    shutil.copyfile(copy, files / f"{AOF}.base.rdb")
    commands: list[tuple[str, ...]] = [("SELECT", "0")]
    for zone in zones:
        names = (name for role in ROLES for name in (keys.runner_lease(zone, role), keys.runner_candidates(zone, role)))
        commands.append(("DEL", *names))
        if database:
            commands.append(("HSET", keys.zone_meta(zone), "database", database))
    (files / f"{AOF}.incr.aof").write_bytes(b"".join(map(_encode, commands)))
    parts = (f"file {AOF}.base.rdb seq 1 type b", f"file {AOF}.incr.aof seq 1 type i")
    (files / "appendonly.aof.manifest").write_text("".join(f"{part}\n" for part in parts))


def _encode(command: Iterable[str]) -> bytes:
    parts = [part.encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
