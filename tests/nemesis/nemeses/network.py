"""Faults of the network: replies are dropped, delayed or swallowed, between the server and Redis and between the
archiver and SQL.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.nemesis.nemeses.registry import add_nemesis
from tests.nemesis.world import POSTGRES, World
from tests.support.proxy import Proxy


@asynccontextmanager
async def repeating(work: object, *, every_s: float, draw: random.Random) -> AsyncIterator[None]:
    """Call ``work`` again and again while the block runs."""

    async def repeat() -> None:
        while True:
            work()  # type: ignore[operator]
            await asyncio.sleep(draw.uniform(0, 2 * every_s))

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()


def drop_a_reply(proxy: Proxy, draw: random.Random) -> None:
    """Let the proxy close the connection in place of one of the next replies."""
    proxy.drop_in = draw.randint(0, 12)


@add_nemesis("replies lost", "again and again a connection to Redis ends in place of a reply", lasts_s=3.0)
async def lose_replies(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Again and again, close a connection to Redis in place of a reply."""
    async with repeating(lambda: drop_a_reply(world.proxy, draw), every_s=0.15, draw=draw):
        yield
    world.proxy.drop_in = None


@add_nemesis("connections cut", "again and again all connections to Redis are cut", lasts_s=3.0)
async def cut_connections(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Again and again, abort all connections to Redis."""
    async with repeating(world.proxy.cut, every_s=0.3, draw=draw):
        yield


@add_nemesis("Redis 200 ms away", "each message between server and Redis takes 200 ms", lasts_s=3.0)
async def delay_redis(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Delay everything between the server and Redis by 200 ms, in both directions."""
    world.proxy.delay_s = 0.2
    yield
    world.proxy.delay_s = 0.0


@add_nemesis("replies swallowed", "commands reach Redis, its replies never arrive, no connection ends", lasts_s=4.0)
async def swallow_replies(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Let no reply of Redis arrive at the server, but leave the connections open. At the end they are aborted, because
    the swallowed bytes never come.
    """
    world.proxy.swallows = "replies"
    yield
    world.proxy.swallows = None
    world.proxy.cut()


@add_nemesis("commands swallowed", "commands do not reach Redis, no connection ends", lasts_s=4.0)
async def swallow_commands(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Let no command of the server arrive at Redis, but leave the connections open."""
    world.proxy.swallows = "requests"
    yield
    world.proxy.swallows = None
    world.proxy.cut()


@add_nemesis("Redis away", "no connection to Redis can be opened", lasts_s=2.0)
async def refuse_connections(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Abort all connections to Redis and refuse new ones."""
    world.proxy.refuses = True
    world.proxy.cut()
    yield
    world.proxy.refuses = False


@add_nemesis(
    "SQL replies lost", "again and again a connection to SQL ends in place of a reply", lasts_s=3.0, needs=(POSTGRES,)
)
async def lose_sql_replies(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Again and again, close a connection to PostgreSQL in place of a reply. It may be the reply to a commit."""
    async with repeating(lambda: drop_a_reply(world.sql_proxy, draw), every_s=0.15, draw=draw):
        yield
    world.sql_proxy.drop_in = None


@add_nemesis("SQL 200 ms away", "each message between server and SQL takes 200 ms", lasts_s=3.0, needs=(POSTGRES,))
async def delay_sql(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Delay everything between the server and PostgreSQL by 200 ms, in both directions."""
    world.sql_proxy.delay_s = 0.2
    yield
    world.sql_proxy.delay_s = 0.0


@add_nemesis("SQL swallowed", "statements reach SQL, its replies never arrive", lasts_s=4.0, needs=(POSTGRES,))
async def swallow_sql(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Let no reply of PostgreSQL arrive, but leave the connections open."""
    world.sql_proxy.swallows = "replies"
    yield
    world.sql_proxy.swallows = None
    world.sql_proxy.cut()
