"""The primary becomes a replica and stays up: commands move to the new primary although no connection is cut."""

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
from tests.faults.pair import Pair, paired
from tests.server.gateway.conftest import Node, running_node
from tests.support import people
from tests.support.wait import wait_until


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with paired(tmp_path) as both:
        yield both


@pytest.fixture
async def node(pair: Pair, tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings(data=str(tmp_path / "data"), redis=pair.name.url, limits="off")
    Path(settings.data).mkdir(exist_ok=True)
    async with running_node(msgspec.structs.replace(settings)) as opened:
        yield opened


async def test_a_demoted_primary_is_left(pair: Pair, node: Node) -> None:
    """Commands are refused for a moment and then run on the new primary; sockets receive each event once and in
    order.
    """
    serves, carla = await people.service(node.engine), await people.customer(node.engine)

    async def books() -> bool:
        try:
            await people.job(node.engine, carla, serves)
        except (Unavailable, Indeterminate):
            return False
        return True

    async with node.connect(carla.id) as client:
        assert await books()
        await pair.change_over()
        await wait_until(books, within_s=15, what="a booking at the new primary")
        assert await books()
        pushes = [await client.next_push() for _ in range(3)]
        assert [push["type"] for push in pushes] == ["job.created"] * 3
        assert [push["seq"] for push in pushes] == sorted({push["seq"] for push in pushes})


async def test_without_a_primary_it_is_not_ready(pair: Pair, node: Node) -> None:
    """While the address leads to a replica, ``/readyz`` says so and commands are refused; both recover with the
    primary.
    """
    serves, carla = await people.service(node.engine), await people.customer(node.engine)
    health = Health(node.engine, node.gateway)
    assert health.problems() == []
    await pair.follow(pair.one, pair.two)  # the other is a replica itself, so there is no primary
    with pytest.raises((Unavailable, Indeterminate)):
        await people.job(node.engine, carla, serves)
    await wait_until(lambda: any("primary" in problem for problem in health.problems()))
    await wait_until(lambda: any("deaf" in problem for problem in health.problems()), within_s=15)
    await pair.follow(pair.one, None)
    await wait_until(lambda: health.problems() == [], within_s=15)
    assert await asyncio.wait_for(people.job(node.engine, carla, serves), 10)


async def test_nothing_is_read_from_a_primary_that_was_replaced(pair: Pair, node: Node) -> None:
    """The old primary stays up, cut off from the new one: all reads use the server on which commands run."""
    serves, carla = await people.service(node.engine), await people.customer(node.engine)
    await people.job(node.engine, carla, serves)
    await wait_until(pair.same_head)
    await pair.follow(pair.two, None)
    pair.name.set_target(pair.two)
    await pair.follow(pair.one, "redis://127.0.0.1:1")

    async def books() -> bool:
        try:
            await people.job(node.engine, carla, serves)
        except (Unavailable, Indeterminate):
            return False
        return True

    await wait_until(books, within_s=15, what="a booking at the new primary")
    assert (await log.read_head(node.engine.store.read_connection, DEFAULT_ZONE)).seq == 2
    second = await log.read_event(node.engine.store.read_connection, DEFAULT_ZONE, 2)
    assert second is not None and second.type == "job.created"


async def test_a_read_whose_reply_is_lost_is_repeated(pair: Pair, node: Node) -> None:
    """A read changes nothing, so a lost reply is never indeterminate."""
    await node.append("user:ann", times=3)
    pair.name.drop_next = b"\r\n3\r\n"
    assert (await log.read_head(node.engine.store.read_connection, DEFAULT_ZONE)).seq == 3
    assert pair.name.dropped == 1
