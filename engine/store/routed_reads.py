"""Plain reads in a cluster: each goes to the shard of its key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from engine.store.error_replies import Moved
from engine.store.shard import Shard
from engine.store.shards import Shards
from engine.store.stream_connection import Reads

COMMANDS_WITH_KEY_SECOND = frozenset(["ZINTER", "MEMORY"])
"""The reads in use whose key is their second argument."""


class RoutedReads(Reads):
    """The plain reads of all callers, each on the shard of its key."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def get_each(self, keys: Sequence[str]) -> list[Any]:
        """Return the string at each of ``keys``, None where there is none: one read for each shard."""
        by_shard: dict[Shard, list[str]] = {}
        for key in keys:
            by_shard.setdefault(self._shards.shard_of(key), []).append(key)
        found: dict[str, Any] = {}
        try:
            parts = await asyncio.gather(*(s.read_connection.get_each(part) for s, part in by_shard.items()))
        except Moved:
            return await super().get_each(keys)
        for part, values in zip(by_shard.values(), parts, strict=True):
            found |= zip(part, values, strict=True)
        return [found[key] for key in keys]

    async def _run_command(self, *command: str | int) -> Any:
        if len(command) == 1:  # TIME: the clocks of the primaries agree
            shard = next(iter(self._shards.all))
            return await shard.read_connection.run_command(*command)
        key = str(command[2 if command[0] in COMMANDS_WITH_KEY_SECOND else 1])
        try:
            return await self._shards.shard_of(key).read_connection.run_command(*command)
        except Moved as moved:
            shard = await self._shards.follow(moved)
            if moved.asks:
                return await shard.submit_after(moved)(*command)
            return await shard.read_connection.run_command(*command)
