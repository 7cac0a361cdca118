"""The primary becomes a replica and stays up: whoever answers to its name now takes over, and nobody cuts a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from engine.errors import Indeterminate, Unavailable
from engine.settings import Settings
from server.health import Health
from tests import people, valkey
from tests.proxy import Proxy
from tests.server.ws.conftest import Node, node_of
from tests.wait import wait_until


class Pair:
    """Two servers, of which one follows the other, and the name of the primary."""

    def __init__(self, urls: tuple[str, str], name: Proxy) -> None:
        self.name = name
        self.one, self.two = urls

    async def follow(self, follower: str, leader: str | None) -> None:
        """Let one copy the other, or nobody."""
        async with Redis.from_url(follower) as client:
            port = leader.rpartition(":")[2] if leader else "ONE"
            await client.execute_command("REPLICAOF", "127.0.0.1" if leader else "NO", port)

    async def caught_up(self, follower: str) -> bool:
        """Whether it has all of its leader."""
        async with Redis.from_url(follower) as client:
            info = await client.info("replication")
            return bool(info["master_link_status"] == "up" and not info["master_sync_in_progress"])

    async def change_over(self) -> None:
        """The second is primary from now on, the first its replica; old connections stay where they are."""
        await self.follow(self.two, None)
        self.name.lead_to(self.two)
        await self.follow(self.one, self.two)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with valkey.running(tmp_path / "one") as one, valkey.running(tmp_path / "two") as two:
        async with Proxy(one) as name:
            both = Pair((one, two), name)
            await both.follow(two, one)
            await wait_until(lambda: both.caught_up(two))
            yield both


@pytest.fixture
async def node(pair: Pair, tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings(data=str(tmp_path / "data"), redis=pair.name.url, limits="off")
    Path(settings.data).mkdir()
    async with node_of(msgspec.structs.replace(settings)) as opened:
        yield opened


async def test_who_is_no_primary_any_more_is_left(pair: Pair, node: Node) -> None:
    """Commands are refused for a moment, then done by the new primary; sockets hear on, in order, each event once."""
    serves, carla = await people.service(node.engine), await people.customer(node.engine)

    async def books() -> bool:
        try:
            await people.job(node.engine, carla, serves)
        except (Unavailable, Indeterminate):
            return False
        return True

    async with node.client(carla.id) as client:
        assert await books()
        await pair.change_over()
        await wait_until(books, within_s=15, what="a booking at the new primary")
        assert await books()
        heard = [await client.push() for _ in range(3)]
        assert [push["type"] for push in heard] == ["job.created"] * 3
        assert [push["seq"] for push in heard] == sorted({push["seq"] for push in heard})


async def test_without_a_primary_it_is_not_ready(pair: Pair, node: Node) -> None:
    """Where its name leads to a replica, ``/readyz`` says so, commands are refused, and all comes back with it."""
    serves, carla = await people.service(node.engine), await people.customer(node.engine)
    health = Health(node.engine, node.gateway)
    assert health.problems() == []
    await pair.follow(pair.one, pair.two)  # which is a replica itself: nobody is primary
    with pytest.raises((Unavailable, Indeterminate)):
        await people.job(node.engine, carla, serves)
    await wait_until(lambda: any("primary" in problem for problem in health.problems()))
    await wait_until(lambda: any("deaf" in problem for problem in health.problems()), within_s=15)
    await pair.follow(pair.one, None)
    await wait_until(lambda: health.problems() == [], within_s=15)
    assert await asyncio.wait_for(people.job(node.engine, carla, serves), 10)
