"""A primary and a replica, and a proxy whose address leads to either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from tests.support import valkey
from tests.support.proxy import Proxy
from tests.support.wait import wait_until


class Pair:
    """A primary, a replica, and the proxy ``name`` whose address stands for the primary."""

    def __init__(self, urls: tuple[str, str], name: Proxy) -> None:
        self.name = name
        self.one, self.two = urls

    async def follow(self, follower: str, leader: str | None) -> None:
        """Make one server a replica of the other, or a primary."""
        async with Redis.from_url(follower) as client:
            port = leader.rpartition(":")[2] if leader else "ONE"
            await client.execute_command("REPLICAOF", "127.0.0.1" if leader else "NO", port)

    async def caught_up(self, follower: str) -> bool:
        """Return whether the replica has all data of its primary."""
        async with Redis.from_url(follower) as client:
            info = await client.info("replication")
            return bool(info["master_link_status"] == "up" and not info["master_sync_in_progress"])

    async def same_head(self) -> bool:
        """Return whether both servers have the same head of the log."""
        heads = []
        for url in (self.one, self.two):
            async with Redis.from_url(url) as client:
                heads.append(await client.hget("{main}:meta", "seq"))  # type: ignore[misc]
        return heads[0] == heads[1]

    async def change_over(self) -> None:
        """Promote the second server and make the first its replica. Open connections keep their target."""
        await self.follow(self.two, None)
        self.name.set_target(self.two)
        await self.follow(self.one, self.two)

    async def split(self) -> None:
        """Make both servers primaries, each with the data that it has."""
        await wait_until(self.same_head)
        await self.follow(self.two, None)

    def set_target(self, url: str) -> None:
        """Point the proxy at ``url`` and abort all open connections."""
        self.name.set_target(url)
        self.name.cut()


@asynccontextmanager
async def paired(folder: Path) -> AsyncIterator[Pair]:
    """Run a primary and its replica."""
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    at_once = ("--repl-diskless-sync-delay", "0")
    with valkey.run_server(folder / "one", *at_once) as one, valkey.run_server(folder / "two", *at_once) as two:
        async with Proxy(one) as name:
            both = Pair((one, two), name)
            await both.follow(two, one)
            await wait_until(lambda: both.caught_up(two))
            yield both
