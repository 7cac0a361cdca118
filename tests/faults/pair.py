"""A primary Redis server and its replica, and a proxy that leads to one of the two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from tests.support import valkey
from tests.support.proxy import Proxy
from tests.support.wait import wait_until


class RedisPair:
    """Two Redis servers, and a proxy whose address the engine uses for the primary. The second server replicates the
    first through the proxy ``replication``.
    """

    def __init__(self, urls: tuple[str, str], proxy: Proxy, replication: Proxy) -> None:
        self.proxy = proxy
        self.replication = replication
        self.first_url, self.second_url = urls

    async def replicate(self, follower: str, leader: str | None) -> None:
        """Make ``follower`` a replica of ``leader``, or a primary if ``leader`` is None."""
        async with Redis.from_url(follower) as client:
            port = leader.rpartition(":")[2] if leader else "ONE"
            await client.execute_command("REPLICAOF", "127.0.0.1" if leader else "NO", port)

    async def is_synchronised(self, follower: str) -> bool:
        """Return whether the replica has all data of its primary."""
        async with Redis.from_url(follower) as client:
            info = await client.info("replication")
            return bool(info["master_link_status"] == "up" and not info["master_sync_in_progress"])

    async def has_same_head(self) -> bool:
        """Return whether the log has the same head on both servers."""
        heads = []
        for url in (self.first_url, self.second_url):
            async with Redis.from_url(url) as client:
                heads.append(await client.hget("{main}:meta", "seq"))  # type: ignore[misc]
        return heads[0] == heads[1]

    async def fail_over(self) -> None:
        """Promote the second server and make the first its replica. Open connections still lead to the first."""
        await self.replicate(self.second_url, None)
        self.proxy.set_target(self.second_url)
        await self.replicate(self.first_url, self.second_url)

    async def promote_both(self) -> None:
        """Wait until both servers have the same data, and make the second a primary too."""
        await wait_until(self.has_same_head)
        await self.replicate(self.second_url, None)

    def set_target(self, url: str) -> None:
        """Let the proxy lead to ``url``, and abort all open connections."""
        self.proxy.set_target(url)
        self.proxy.cut()


@asynccontextmanager
async def running_pair(folder: Path) -> AsyncIterator[RedisPair]:
    """Run a primary and its replica while the block runs."""
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    options = ("--repl-diskless-sync-delay", "0")
    with valkey.run_server(folder / "one", *options) as one, valkey.run_server(folder / "two", *options) as two:
        async with Proxy(one) as proxy, Proxy(one) as replication:
            pair = RedisPair((one, two), proxy, replication)
            await pair.replicate(two, replication.url)
            await wait_until(lambda: pair.is_synchronised(two))
            yield pair
