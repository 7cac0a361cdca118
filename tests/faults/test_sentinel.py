"""Redis behind Sentinel: the gateway follows the primary that the sentinels choose."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from engine.domain import booking
from engine.domain.booking import Booking
from engine.errors import Indeterminate, Unavailable
from engine.process.settings import Settings
from engine.store.sentinel import find_primary
from tests.faults.sentinels import SERVICE, WatchedPair, watched_pair
from tests.server.gateway.conftest import Node, running_node
from tests.support import people
from tests.support.process import run_callout
from tests.support.wait import wait_until


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[WatchedPair]:
    """Yield a primary and its replica under three sentinels."""
    async with watched_pair(tmp_path) as both:
        yield both


@pytest.fixture
async def node(pair: WatchedPair, tmp_path: Path) -> AsyncIterator[Node]:
    """Yield a gateway whose settings name only the sentinels."""
    settings = Settings(data=str(tmp_path / "data"), redis=pair.url, limits="off")
    Path(settings.data).mkdir(exist_ok=True)
    async with running_node(settings) as opened:
        yield opened


async def test_a_failover_by_sentinel_under_load(pair: WatchedPair, node: Node) -> None:
    """The primary and one sentinel are killed while bookings run. The sentinels promote the replica, and the gateway
    finds it by itself: each booking happens once, sockets get each event once and in order, and the pub/sub connection
    comes back too.
    """
    service, carla = await people.service(node.engine), await people.customer(node.engine)
    keys: list[str] = []

    async def book_until_done(key: str) -> str:
        place = Booking(service=service, lat=50.0, lon=13.0, address="1 Main St")
        while True:
            try:
                return people.id_of(await booking.book_job(node.engine, carla, place, key=key))
            except (Unavailable, Indeterminate):
                await asyncio.sleep(0.05)

    async with node.connect(carla.id) as client:
        await book_until_done(str(uuid.uuid4()))
        old = await pair.primary()
        pair.kill(next(iter(pair.sentinels)))
        load = []
        for number in range(12):
            keys.append(str(uuid.uuid4()))
            load.append(asyncio.create_task(book_until_done(keys[-1])))
            if number == 3:
                pair.kill(old)
            await asyncio.sleep(0.05)
        jobs = await asyncio.wait_for(asyncio.gather(*load), 30)
        assert await pair.primary() != old
        assert len(set(jobs)) == len(keys)
        assert [await book_until_done(key) for key in keys] == jobs
        await wait_until(lambda: node.gateway.live.is_subscribed, within_s=10, what="the live channel")
        await wait_until(lambda: not node.gateway.relay.is_disconnected, within_s=10, what="the relay")
        heard: list[str] = []
        while len(heard) < len(jobs):
            push = await client.next_push()
            heard += [push["data"]["job"]["id"]] if push["type"] == "job.created" else []
        assert len(heard) == len(set(heard))


async def test_the_commands_of_an_operator_ask_the_sentinels(pair: WatchedPair, node: Node) -> None:
    """`callout doctor` and `callout zone` find the primary through the sentinels that `--redis` names."""
    where = ("--data", node.engine.settings.data, "--redis")
    nowhere = await run_callout("doctor", *where, "redis+sentinel://127.0.0.1:1/callout")
    assert nowhere.code == 1 and "it cannot be reached: no sentinel names the primary (127.0.0.1:1: " in nowhere.out
    found = await run_callout("doctor", *where, pair.url)
    assert (found.code, found.out.splitlines()[-1]) == (0, "no problems"), found.out
    state = await run_callout("zone", "status", *where, pair.url)
    assert state.out.startswith("main: state open, "), state.out + state.err


async def test_no_sentinel_that_knows_the_service(pair: WatchedPair) -> None:
    """If no sentinel answers or knows the service, the error names each of them with the reason."""
    ports = list(pair.sentinels)
    pair.kill(ports[0])
    with pytest.raises(Unavailable, match=f"{ports[0]}.*{ports[1]}: it does not know other"):
        await find_primary([("127.0.0.1", port) for port in ports[:2]], "other")
    host, port = await find_primary([("127.0.0.1", each) for each in ports], SERVICE)
    with redis.Redis(host, port) as client:
        assert client.role()[0] == b"master"
