"""Faults and changes of a Redis Cluster: a failover, a killed primary, a slot that moves, an empty node."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from tests.nemesis.nemeses.registry import add_nemesis
from tests.nemesis.world import CLUSTER, World
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

KEY = "{main}"
"""A key of the zone's slot."""


def _cluster_of(world: World) -> Cluster:
    assert world.cluster is not None
    return world.cluster


def _replica_of(cluster: Cluster, primary: int) -> int:
    """Return the port of the replica of a primary."""
    return next(
        port for port in cluster.nodes if (role := cluster.role(port))[0] == b"slave" and int(role[2]) == primary
    )


@add_nemesis(
    "cluster failover",
    "in a cluster the replica of the zone's primary takes over, because it was asked to",
    levels=("fast", "sql"),
    needs=(CLUSTER,),
)
async def fail_over(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Ask the replica of the zone's primary to take over. It does so when it has all data."""
    cluster = _cluster_of(world)
    replica = _replica_of(cluster, cluster.owner_of(KEY))
    await asyncio.to_thread(cluster.ask, replica, "CLUSTER", "FAILOVER")
    yield
    await wait_until(lambda: cluster.owner_of(KEY) == replica, within_s=10, what="the failover")


@add_nemesis(
    "cluster primary killed",
    "in a cluster the zone's primary is killed, and its replica takes over by itself",
    levels=("fast", "sql"),
    survives=("replica", "sql"),
    lasts_s=3.0,
    needs=(CLUSTER,),
)
async def kill_primary(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill the Redis primary that has the zone. Its replica takes over by itself."""
    cluster = _cluster_of(world)
    owner = cluster.owner_of(KEY)
    cluster.kill(owner)
    yield
    await wait_until(lambda: cluster.owner_of(KEY) != owner, within_s=15, what="the failover")


@add_nemesis(
    "slot moved",
    "in a cluster the zone's slot moves to another primary while users act",
    levels=("fast", "sql"),
    needs=(CLUSTER,),
)
async def move_slot(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Move the zone's slot to another Redis primary while users act."""
    cluster = _cluster_of(world)
    owner = cluster.owner_of(KEY)
    others = [port for port in cluster.nodes if port != owner and cluster.role(port)[0] == b"master"]
    await asyncio.to_thread(cluster.move_slot, KEY, draw.choice(others))
    yield


@add_nemesis(
    "empty node",
    "in a cluster an empty node joins and gets the zone's slot while users act",
    levels=("fast", "sql"),
    needs=(CLUSTER,),
)
async def join_empty_node(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Start an empty Redis node, let it join the cluster, and move the zone's slot to it."""
    cluster = _cluster_of(world)
    port = await asyncio.to_thread(cluster.start_node)
    await asyncio.to_thread(cluster.join, port)
    await asyncio.to_thread(cluster.move_slot, KEY, port)
    yield
