"""Resources that are used up: disks, memory, descriptors; and a clock that is wrong."""

from __future__ import annotations

import random
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from redis.asyncio import Redis

from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.nemesis.nemeses.registry import add_nemesis
from tests.nemesis.world import World

HOUR_MS = 3_600_000


@contextmanager
def limited(pid: int, what: int, limit: int) -> Iterator[None]:
    """Lower a limit of a process while the block runs."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


@add_nemesis("disk of Redis full", "the append-only file cannot grow (RLIMIT_FSIZE): MISCONF", lasts_s=3.0)
async def fill_redis_disk(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Let no file of Valkey grow."""
    with limited(world.primary.pid, resource.RLIMIT_FSIZE, world.primary.aof.stat().st_size):
        yield


@add_nemesis("disk of SQLite full", "no file of the server can grow (RLIMIT_FSIZE)", lasts_s=3.0)
async def fill_sqlite_disk(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Let no file of the server grow: the database, its journal and the server's log."""
    with limited(world.pid(), resource.RLIMIT_FSIZE, 4096):
        yield


@add_nemesis("memory of Redis full", "`maxmemory` is below what is in use: OOM", lasts_s=2.0)
async def fill_memory(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Set `maxmemory` to 1 MB."""
    async with Redis.from_url(world.primary.url) as client:
        await client.config_set("maxmemory", "1mb")
        yield
        await client.config_set("maxmemory", "0")


@add_nemesis("no descriptors", "the server may open no further file or socket (RLIMIT_NOFILE)", lasts_s=2.0)
async def use_descriptors(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Let the server open nothing more."""
    with limited(world.pid(), resource.RLIMIT_NOFILE, 8):
        yield


@add_nemesis("clock an hour ahead", "the clock of Redis is an hour fast for a while", lasts_s=2.0, moves_time=True)
async def move_clock(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Move the zone's clock an hour forward, and back at the end."""
    async with Redis.from_url(world.primary.url) as client:
        meta = keys.zone_meta(DEFAULT_ZONE)
        await client.hincrby(meta, "skew", HOUR_MS)  # type: ignore[misc]
        yield
        await client.hincrby(meta, "skew", -HOUR_MS)  # type: ignore[misc]
