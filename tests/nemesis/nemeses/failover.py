"""Failovers to a replica: clean, with a replica that lags, and with both servers in use."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from tests.nemesis.nemeses.registry import ALL_LEVELS, add_nemesis
from tests.nemesis.world import REPLICA, World

REPLICATED = ("replica", "sql")
"""The levels at which an acknowledged command is not on one Redis alone."""


@add_nemesis(
    "failover",
    "the replica, which has all data, becomes the primary; the old primary follows it",
    levels=("fast", "replica"),
    needs=(REPLICA,),
)
async def fail_over(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Refuse connections to Redis, wait until the replica has all data, and exchange primary and replica."""
    old, new = world.primary, world.other
    world.proxy.refuses = True
    world.proxy.cut()
    await asyncio.sleep(0.1)
    await world.wait_for_replica()
    await world.replicate(new, None)
    await world.replicate(old, new)
    yield
    world.proxy.refuses = False
    world.lead_to(new)
    await world.wait_for_replica()


@add_nemesis(
    "failover without warning",
    "the primary is killed while users act, and its replica takes over",
    levels=ALL_LEVELS,
    survives=REPLICATED,
    needs=(REPLICA,),
)
async def kill_primary(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill the Redis primary and promote its replica. When the old primary is started again, it follows the new one."""
    old, new = world.primary, world.other
    old.kill()
    await world.replicate(new, None)
    yield
    world.lead_to(new)
    old.start()
    await world.replicate(old, new)
    await world.wait_for_replica()


@add_nemesis(
    "failover to a replica that lags",
    "replication stands still for a while, then the primary is killed and the replica takes over",
    levels=ALL_LEVELS,
    survives=REPLICATED,
    needs=(REPLICA,),
    needs_rebuild=True,
)
async def kill_primary_ahead(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Stop replication for up to a second. Then kill the Redis primary, which is ahead of its replica, and promote the
    replica.
    """
    old, new = world.primary, world.other
    world.replication.swallows = "replies"
    await asyncio.sleep(draw.uniform(0.5, 1.0))
    old.kill()
    world.replication.swallows = None
    world.replication.cut()
    await world.replicate(new, None)
    yield
    world.lead_to(new)
    old.start()
    await world.replicate(old, new)
    await world.wait_for_replica()


@add_nemesis(
    "split brain",
    "the replica is promoted and served too, while the old primary goes on; then only the new one is left",
    levels=ALL_LEVELS,
    survives=REPLICATED,
    lasts_s=2.0,
    needs=(REPLICA,),
    needs_rebuild=True,
)
async def split_brain(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Promote the replica while the old primary does not know of it. Open connections stay at the old primary, and new
    ones lead to the new primary. A second server starts on the new primary.
    """
    old, new = world.primary, world.other
    world.replication.refuses = True
    world.replication.cut()
    await world.replicate(new, None)
    world.proxy.set_target(new.url)
    with contextlib.suppress(AssertionError):  # level `replica` is refused there, because there is no replica
        await world.start_server("second")
    yield
    await world.kill_server("second")
    world.proxy.cut()
    world.replication.refuses = False
    await world.replicate(old, new)
    await world.wait_for_replica()


@add_nemesis(
    "there and back",
    "the address leads to the promoted replica, back to the old primary, and to the replica again; if the old primary"
    " was opened meanwhile, `callout zone rebuild` opens the zone",
    levels=("fast",),
    survives=("sql",),
    lasts_s=1.0,
    needs=(REPLICA,),
)
async def there_and_back(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Lead the address of Redis to the promoted replica, where users act, then back to the old primary, which has none
    of their changes, and then to the replica again. If the server has rebuilt and opened the old primary meanwhile, the
    replica has the older epoch: then an operator's command rebuilds the zone.
    """
    first, second = world.primary, world.other
    world.proxy.refuses = True
    world.proxy.cut()
    await world.wait_for_replica()
    await world.replicate(second, None)
    world.proxy.refuses = False
    world.lead_to(second)
    await asyncio.sleep(draw.uniform(1.0, 2.0))
    world.lead_to(first)
    yield
    world.lead_to(second)
    if not await world.is_soon_ready():
        await world.run_command("zone", "rebuild", "main")
    await world.replicate(first, second)
    await world.wait_for_replica()
