"""Redis as one server or as a cluster. Each primary has as many replicas as the acknowledgement level needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import redis
from redis.crc import key_slot

from bench.ports import free_port
from bench.rig import BenchError, Child, Rig
from engine.types import Zone

SLOTS = 16_384
CLUSTER_TIMEOUT_S = 30.0


class RedisNodes(NamedTuple):
    """A started Redis: its URL for Callout, its primaries, and its zones, of which each primary has the same number."""

    url: str
    primaries: list[Child]
    zones: list[Zone]


async def start_nodes(rig: Rig, nodes: int, zones: int, *options: str, replicas: int = 0) -> RedisNodes:
    """Start ``nodes`` primaries with ``replicas`` each: a cluster if there are more than one. Raises BenchError."""
    if nodes == 1:
        url, child = rig.start_redis(*options)
        for _ in range(replicas):
            rig.start_redis("--replicaof", f"127.0.0.1 {_port(url)}")
        with redis.Redis.from_url(url) as client:
            await asyncio.to_thread(_wait, lambda: _has_replicas(client, replicas), "connect their replicas")
        return RedisNodes(url, [child], zone_names(1, zones))
    cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000", *options)
    started = [rig.start_redis(*cluster, "--cluster-port", str(free_port())) for _ in range(nodes)]
    copies = [rig.start_redis(*cluster, "--cluster-port", str(free_port())) for _ in range(nodes * replicas)]
    await asyncio.to_thread(_form_cluster, [_port(url) for url, _ in started], [_port(url) for url, _ in copies])
    addresses = ",".join(f"127.0.0.1:{_port(url)}" for url, _ in started)
    return RedisNodes(f"redis+cluster://{addresses}", [child for _, child in started], zone_names(nodes, zones))


def zone_names(nodes: int, zones: int) -> list[Zone]:
    """Return names of zones whose slots are spread evenly over ``nodes`` primaries with equal ranges of slots."""
    names: list[Zone] = []
    number = 0
    while len(names) < zones:
        name = "main" if number == 0 else f"city-{number}"
        if key_slot(name.encode()) * nodes // SLOTS == len(names) % nodes:
            names.append(Zone(name))
        number += 1
    return names


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def _form_cluster(primaries: list[int], replicas: list[int]) -> None:
    """Give each primary its range of slots, let all meet, and wait until every node knows the whole cluster."""
    ports = primaries + replicas
    clients = [redis.Redis(port=port, decode_responses=True) for port in ports]
    count = len(primaries)
    for number, client in enumerate(clients[:count]):
        first, last = -(-number * SLOTS // count), -(-(number + 1) * SLOTS // count) - 1
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
    for port, client in zip(ports[1:], clients[1:], strict=True):
        bus = client.config_get("cluster-port")["cluster-port"]
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
    _wait(lambda: all(_known_nodes(client) == len(ports) for client in clients))
    names = [client.execute_command("CLUSTER", "MYID") for client in clients[:count]]
    for number, client in enumerate(clients[count:]):
        client.execute_command("CLUSTER", "REPLICATE", names[number % count])
    _wait(lambda: all(client.cluster("INFO")["cluster_state"] == "ok" for client in clients))
    _wait(lambda: all(_has_replicas(client, len(replicas) // count) for client in clients[:count]))
    for client in clients:
        client.close()


def _known_nodes(client: redis.Redis) -> int:
    return int(client.cluster("INFO")["cluster_known_nodes"])


def _has_replicas(client: redis.Redis, count: int) -> bool:
    info = client.info("replication")
    return all(info.get(f"slave{number}", {}).get("state") == "online" for number in range(count))


def _wait(condition: Callable[[], bool], what: str = "form a cluster") -> None:
    until = time.monotonic() + CLUSTER_TIMEOUT_S
    while not condition():
        if time.monotonic() > until:
            raise BenchError(f"the Redis nodes do not {what}")
        time.sleep(0.05)
