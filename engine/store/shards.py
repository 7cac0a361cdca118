"""The shards of a Redis: which primary has a key. A Redis that is no cluster, also one with sentinels, is a single
shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis

from engine.store import keys
from engine.store.error_replies import Moved
from engine.store.redis_url import connect_function, create_client, parse_url
from engine.store.shard import Shard, ShardContext
from engine.store.stream_connection import Reads
from engine.types import Zone


class Shards:
    """All shards of a Redis that is no cluster: one. engine/store/cluster.py has those of a cluster."""

    is_cluster = False

    def __init__(self, url: str, zones: Sequence[Zone], context: ShardContext) -> None:
        self._url = url
        self._zones = zones
        self._only = Shard("Redis", connect_function(url), context)
        self._only.set_probe_key(keys.write_probe(zones[0]))
        if parse_url(url).kind == "sentinel":  # the sentinels may name another server by now
            self._only.pipeline.when_silent = self._only.pipeline.disconnect

    @property
    def all(self) -> Iterable[Shard]:
        """Return all shards."""
        return (self._only,)

    @property
    def reads(self) -> Reads:
        """Return the connection for the plain reads of all callers."""
        return self._only.read_connection

    def shard_of(self, key: str) -> Shard:
        """Return the shard that has ``key``. Raises Unavailable if no primary is known."""
        return self._only

    def client_of(self, key: str, **options: Any) -> Redis:
        """Return a redis-py client of the primary that has ``key``. Raises Unavailable."""
        return create_client(self._url, **options)

    def zones_of(self, shard: Shard) -> list[Zone]:
        """Return the zones that are on ``shard``."""
        return list(self._zones)

    def groups(self, zones: Iterable[Zone]) -> list[list[Zone]]:
        """Return the zones in groups. The logs of one group can be read by one command."""
        return [list(zones)]

    def clients(self, **options: Any) -> dict[str, Redis]:
        """Return a new redis-py client of each primary, by the name of its shard; "" if there is only one."""
        return {"": create_client(self._url, **options)}

    async def discover(self) -> None:
        """Learn which primaries there are. Raises Unavailable."""

    async def open(self) -> None:
        """Connect to every primary. Raises Unavailable."""
        await self._only.open()

    async def follow(self, moved: Moved) -> Shard:
        """Return the shard that a node named when it refused a command with ``moved``. A Redis that is no cluster has
        no other shard, so ``moved`` is raised.
        """
        raise moved

    async def close(self) -> None:
        """Close all connections."""
        await self._only.close()
