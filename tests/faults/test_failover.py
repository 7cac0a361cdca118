"""The primary becomes a replica and continues to run: commands run on the new primary although no connection was
cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from engine.errors import Indeterminate, Unavailable
from engine.process.settings import Settings
from engine.types import DEFAULT_ZONE
from engine.zone import log
from server.health import Health
from tests.faults.pair import RedisPair, running_pair
from tests.server.gateway.conftest import Node, running_node
from tests.support import people
from tests.support.wait import wait_until


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[RedisPair]:
    async with running_pair(tmp_path) as both:
        yield both


@pytest.fixture
async def node(pair: RedisPair, tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings(data=str(tmp_path / "data"), redis=pair.proxy.url, limits="off")
    Path(settings.data).mkdir(exist_ok=True)
    async with running_node(msgspec.structs.replace(settings)) as opened:
        yield opened


async def test_a_demoted_primary_is_left(pair: RedisPair, node: Node) -> None:
    """After a failover commands are refused for a short time and then run on the new primary; sockets receive each
    event once and in order.
    """
    service, carla = await people.service(node.engine), await people.customer(node.engine)

    async def can_book() -> bool:
        try:
            await people.job(node.engine, carla, service)
        except (Unavailable, Indeterminate):
            return False
        return True

    async with node.connect(carla.id) as client:
        assert await can_book()
        await pair.fail_over()
        await wait_until(can_book, within_s=15, what="a booking at the new primary")
        assert await can_book()
        pushes = [await client.next_push() for _ in range(3)]
        assert [push["type"] for push in pushes] == ["job.created"] * 3
        assert [push["seq"] for push in pushes] == sorted({push["seq"] for push in pushes})


async def test_without_a_primary_it_is_not_ready(pair: RedisPair, node: Node) -> None:
    """While the address leads to a replica, ``/readyz`` reports the missing primary and commands are refused; both
    recover with the primary.
    """
    service, carla = await people.service(node.engine), await people.customer(node.engine)
    health = Health(node.engine, node.gateway)
    assert health.problems() == []
    await pair.replicate(pair.first_url, pair.second_url)  # the second server is a replica too, so there is no primary
    with pytest.raises((Unavailable, Indeterminate)):
        await people.job(node.engine, carla, service)
    await wait_until(lambda: any("primary" in problem for problem in health.problems()))
    await wait_until(lambda: any("relay is disconnected" in problem for problem in health.problems()), within_s=15)
    await pair.replicate(pair.first_url, None)
    await wait_until(lambda: health.problems() == [], within_s=15)
    assert await asyncio.wait_for(people.job(node.engine, carla, service), 10)


async def test_nothing_is_read_from_a_primary_that_was_replaced(pair: RedisPair, node: Node) -> None:
    """After a failover all reads use the server on which commands run, although the old primary still runs, separated
    from the new one.
    """
    service, carla = await people.service(node.engine), await people.customer(node.engine)
    await people.job(node.engine, carla, service)
    await wait_until(pair.has_same_head)
    await pair.replicate(pair.second_url, None)
    pair.proxy.set_target(pair.second_url)
    await pair.replicate(pair.first_url, "redis://127.0.0.1:1")

    async def can_book() -> bool:
        try:
            await people.job(node.engine, carla, service)
        except (Unavailable, Indeterminate):
            return False
        return True

    await wait_until(can_book, within_s=15, what="a booking at the new primary")
    assert (await log.read_head(node.engine.store.read_connection, DEFAULT_ZONE)).seq == 2
    second = await log.read_event(node.engine.store.read_connection, DEFAULT_ZONE, 2)
    assert second is not None and second.type == "job.created"


async def test_a_read_whose_reply_is_lost_is_repeated(pair: RedisPair, node: Node) -> None:
    """A read whose reply is lost is repeated and succeeds, because a read changes nothing."""
    await node.append("user:ann", times=3)
    pair.proxy.drop_next = b"\r\n3\r\n"
    assert (await log.read_head(node.engine.store.read_connection, DEFAULT_ZONE)).seq == 3
    assert pair.proxy.dropped == 1
