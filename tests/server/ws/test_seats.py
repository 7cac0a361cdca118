"""Five sockets a user, over all gateways of one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from engine import sockets
from engine.settings import Settings
from engine.store import keys
from engine.types import DEFAULT_ZONE, UserId
from tests.server.ws.conftest import Client, Node, node_of
from tests.wait import wait_until

ANN = keys.sockets(DEFAULT_ZONE, UserId("ann"))


@pytest.fixture
async def pair(settings: Settings) -> AsyncIterator[tuple[Node, Node]]:
    """Two gateways that share Redis and the key."""
    one = msgspec.structs.replace(settings, limits="on")
    two = msgspec.structs.replace(one, data=f"{settings.data}2", key_file=f"{settings.data}/signing.key")
    async with node_of(one) as first, node_of(two) as second:
        yield first, second


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What a test opens."""
    async with AsyncExitStack() as opened:
        yield opened


async def seats(node: Node) -> int:
    """How many of ann's sockets are counted."""
    return int(await node.engine.store.redis.zcard(ANN))


async def seated(node: Node, count: int) -> None:
    """Wait until so many are."""

    async def counted() -> bool:
        return await seats(node) == count

    await wait_until(counted, what=f"{count} seats")


async def opened(stack: AsyncExitStack, *nodes: Node) -> list[Client]:
    """One socket of ann's at each of ``nodes``, one after the other."""
    clients = []
    for node in nodes:
        before = {session.id for session in node.gateway.sessions}
        clients.append(await stack.enter_async_context(node.client("ann")))
        (new,) = [session for session in node.gateway.sessions if session.id not in before]
        await wait_until(lambda n=node, s=new: n.gateway.seats._held.get(s), what="its seat")  # type: ignore[misc]
    return clients


async def test_the_oldest_goes_wherever_it_is(pair: tuple[Node, Node], stack: AsyncExitStack) -> None:
    """Over five on two gateways the oldest is replaced, 4505, by one at the other; the rest and others' stay."""
    one, two = pair
    other = await stack.enter_async_context(one.client("bob"))
    mine = await opened(stack, one, two, one, two, one, two, one)
    assert [await client.closed() for client in mine[:2]] == [4505, 4505]
    assert [node.gateway.counters.closes[4505] for node in pair] == [1, 1]
    last = await one.append("user:ann user:bob")
    assert [await client.seqs(1) for client in [*mine[2:], other]] == [[last]] * 6
    assert await seats(one) == 5


async def test_who_goes_gives_his_seat_back(pair: tuple[Node, Node], stack: AsyncExitStack) -> None:
    """A socket that was closed is not counted: another may be opened elsewhere, and nobody goes for it."""
    one, two = pair
    mine = await opened(stack, one, one, one, two, two)
    await mine[4].socket.close()
    await seated(one, 4)
    mine[4:] = await opened(stack, one)
    last = await two.append("user:ann")
    assert [await client.seqs(1) for client in mine] == [[last]] * 5
    for client in mine:
        await client.socket.close()
    await seated(one, 0)
    assert not await one.engine.store.redis.exists(ANN)


async def test_open_sockets_are_touched(settings: Settings, stack: AsyncExitStack) -> None:
    """Once a ping interval, so that a seat is held for longer than its lease; one that was lost is there again."""
    node = await stack.enter_async_context(node_of(msgspec.structs.replace(settings, limits="on", ping_s=0.5)))
    redis, (client,) = node.engine.store.redis, await opened(stack, node)
    answering = asyncio.create_task(client.receive())
    ((_, taken),) = await redis.zrange(ANN, 0, -1, withscores=True)

    async def touched() -> bool:
        return bool(await redis.zcount(ANN, taken + 1, "inf"))

    await wait_until(touched, what="a touch")
    await redis.delete(ANN)
    await seated(node, 1)
    await node.append("user:ann")
    assert (await answering)["seq"] == 1


async def test_the_seats_of_a_dead_gateway_fall_out(
    pair: tuple[Node, Node], stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody touches them: after a lease four more may be opened at the other, and the one there that is older than
    they all stays.
    """
    one, two = pair
    monkeypatch.setattr(sockets, "lease_ms", lambda engine: 500)
    redis, mine = two.engine.store.redis, await opened(stack, two)
    await opened(stack, one, one, one)
    one.gateway.seats._held.clear()  # as if it had been killed: it neither touches nor gives up

    async def outlived() -> bool:
        await two.gateway.seats.touch()
        scores = [at for _, at in await redis.zrange(ANN, 0, -1, withscores=True)]
        return max(scores) - min(scores) > 500 or len(scores) == 1

    await wait_until(outlived, what="a lease without touches")
    mine += await opened(stack, two, two, two, two)
    last = await two.append("user:ann")
    assert [await client.seqs(1) for client in mine] == [[last]] * 5


async def test_a_connect_costs_redis_one_call_more(settings: Settings, stack: AsyncExitStack) -> None:
    """Five sockets, five calls; with limits off none."""
    for limits, calls in (("on", 5), ("off", 0)):
        node = await stack.enter_async_context(node_of(msgspec.structs.replace(settings, limits=limits)))
        bearer = await node.token("ann")
        before = await _calls(node)  # and nothing is closed meanwhile, which would be told too
        for _ in range(5):
            client = await stack.enter_async_context(node.raw())
            await client.ask(op="connect", token=bearer)
        if calls:
            await seated(node, 5)
        assert await _calls(node) - before == calls


async def _calls(node: Node) -> int:
    stats = await node.engine.store.redis.info("commandstats")
    return int(stats.get("cmdstat_fcall", {}).get("calls", 0))
