"""Search everything that a server stores for texts: every column of SQL, every key of Redis, every file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine.runtime import Engine
from engine.sql import erasure_tables, path_tables, schema  # noqa: F401 (they define all tables)
from engine.sql.columns import metadata
from engine.sql.database import Archive


def found_in(place: str, content: str | bytes, texts: Iterable[str]) -> list[str]:
    """Return `<text> in <place>` for each of the texts that ``content`` contains, in upper or lower case."""
    data = (content.encode() if isinstance(content, str) else content).lower()
    return [f"{text!r} in {place}" for text in texts if text.encode().lower() in data]


async def traces_in_sql(archive: Archive, texts: Iterable[str]) -> list[str]:
    """Search all tables of SQL for the texts, and return where they were found."""
    found: list[str] = []
    async with archive.begin_read() as conn:
        for table in metadata.sorted_tables:
            for row in (await conn.execute(select(table))).mappings():
                for name, value in row.items():
                    content = value if isinstance(value, bytes) else str(value)
                    found += found_in(f"{table.name}.{name}", content, texts)
    return found


async def traces_in_redis(engine: Engine, texts: Iterable[str]) -> list[str]:
    """Search the names and contents of all keys in Redis for the texts, and return where they were found."""
    found: list[str] = []
    async for key in engine.store.redis.scan_iter(count=1000):
        kind = (await engine.store.redis.type(key)).decode()
        read: dict[str, tuple[Any, ...]] = {
            "string": ("GET", key),
            "hash": ("HGETALL", key),
            "set": ("SMEMBERS", key),
            "zset": ("ZRANGE", key, 0, -1),
            "list": ("LRANGE", key, 0, -1),
            "stream": ("XRANGE", key, "-", "+"),
        }
        found += found_in(key.decode(), repr([key, await engine.store.redis.execute_command(*read[kind])]), texts)
    return found


def traces_in_files(folder: Path, texts: Iterable[str]) -> list[str]:
    """Search all files below a folder for the texts, and return where they were found."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [each for path in files for each in found_in(str(path.relative_to(folder)), path.read_bytes(), texts)]
