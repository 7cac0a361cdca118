"""Resources that are used up: disks, memory, descriptors; and a clock that is wrong."""

from __future__ import annotations

import random
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from redis.asyncio import Redis

from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.nemesis.nemeses.network import repeating
from tests.nemesis.nemeses.registry import add_nemesis
from tests.nemesis.world import BALANCER, World
from tests.support.http import open_http
from tests.support.wait import wait_until

HOUR_MS = 3_600_000


async def wait_until_not_ready(world: World) -> None:
    """Wait until the server reports the fault (``/readyz``): a fault without an effect would prove nothing."""
    async with open_http(world.url_of("first")) as client:

        async def is_reported() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await wait_until(is_reported, within_s=15, what="the report of the fault")


@contextmanager
def limited(pid: int, what: int, limit: int) -> Iterator[None]:
    """Lower a resource limit of a process (``resource.prlimit``) while the block runs."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


@add_nemesis("disk of Redis full", "the append-only file cannot grow (RLIMIT_FSIZE): MISCONF", lasts_s=3.0)
async def fill_redis_disk(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Simulate a full disk of Valkey: its append-only file cannot grow."""
    with limited(world.primary.pid, resource.RLIMIT_FSIZE, world.primary.aof.stat().st_size):
        await wait_until_not_ready(world)
        yield


@add_nemesis("disk of SQLite full", "no file of the server can grow (RLIMIT_FSIZE)", lasts_s=3.0)
async def fill_sqlite_disk(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Simulate a full disk of the server: the database, its journal and the server's log cannot grow."""
    with limited(world.pid(), resource.RLIMIT_FSIZE, 4096):
        await wait_until_not_ready(world)
        yield


@add_nemesis("memory of Redis full", "`maxmemory` is below what is in use: OOM", lasts_s=2.0)
async def fill_memory(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Simulate a Redis without free memory: set `maxmemory` to 1 MB, which is less than it uses."""
    async with Redis.from_url(world.primary.url) as client:
        await client.config_set("maxmemory", "1mb")
        await wait_until_not_ready(world)
        yield
        await client.config_set("maxmemory", "0")


@add_nemesis(
    "no descriptors",
    "the server may open no further file or socket (RLIMIT_NOFILE), and its sockets are cut again and again",
    lasts_s=2.0,
    needs=(BALANCER,),
)
async def use_descriptors(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Let the server open no further file or socket, and cut the open ones, so that users cannot reconnect."""
    with limited(world.pid(), resource.RLIMIT_NOFILE, 8):
        async with repeating(world.balancer.cut, every_s=0.5, draw=draw):
            yield


@add_nemesis("clock an hour ahead", "the clock of Redis is an hour fast for a while", lasts_s=2.0)
async def move_clock(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Move the zone's clock an hour forward, and back at the end."""
    async with Redis.from_url(world.primary.url) as client:
        meta = keys.zone_meta(DEFAULT_ZONE)
        await client.hincrby(meta, "skew", HOUR_MS)  # type: ignore[misc]
        yield
        await client.hincrby(meta, "skew", -HOUR_MS)  # type: ignore[misc]
