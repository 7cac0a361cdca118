"""Five sockets and five event streams a user, over all gateways of one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic
from typing import Any

import msgspec
import pytest

from engine.errors import Unavailable
from engine.identity import sockets
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, UserId
from engine.zone import log
from server.gateway.protocol import Credentials, State
from server.gateway.session import Session
from server.serve import running
from tests.server.gateway.conftest import Client, Node, node_of, principal
from tests.server.gateway.streams import Site, Source, site_of
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until

ANN = keys.socket_slots(DEFAULT_ZONE, UserId("ann"))
STREAMS = keys.stream_slots(DEFAULT_ZONE, UserId("ann"))


def second(one: Settings) -> Settings:
    """Another server on the same Redis, with the same key and the same database."""
    shared = {"key_file": f"{one.data}/signing.key", "database": f"sqlite:///{one.data}/callout.db"}
    return msgspec.structs.replace(one, data=f"{one.data}2", **shared)


@pytest.fixture
async def pair(settings: Settings) -> AsyncIterator[tuple[Node, Node]]:
    """Two gateways that share Redis and the key."""
    one = msgspec.structs.replace(settings, limits="on")
    two = second(one)
    async with node_of(one) as first, node_of(two) as other:
        yield first, other


@pytest.fixture
async def sites(settings: Settings) -> AsyncIterator[tuple[Site, Site]]:
    """Two servers that share Redis and the key."""
    one = msgspec.structs.replace(settings, limits="on", port=0, roles=("gateway",))
    two = second(one)
    async with (
        running(one) as first,
        running(two) as other,
        site_of(first) as here,
        site_of(other) as there,
    ):
        yield here, there


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


def heard(node: Node) -> None:
    """As if each client had said something now."""
    for session in node.gateway.slots._slots:
        session.received_at = monotonic()


async def opened(stack: AsyncExitStack, *nodes: Node) -> list[Client]:
    """One socket of ann's at each of ``nodes``, one after the other. Whoever was there before was heard of a second
    earlier: gateways tell ages, by when their word arrives, and how long it takes must not change an order.
    """
    clients = []
    for node in nodes:
        for session in {one for each in nodes for one in each.gateway.sessions}:
            session.received_at -= 1
        before = {session.id for session in node.gateway.sessions}
        clients.append(await stack.enter_async_context(node.client("ann")))
        (new,) = [session for session in node.gateway.sessions if session.id not in before]
        await wait_until(lambda n=node, s=new: n.gateway.slots._slots.get(s), what="its seat")  # type: ignore[misc]
    return clients


async def test_the_oldest_goes_wherever_it_is(pair: tuple[Node, Node], stack: AsyncExitStack) -> None:
    """Over five on two gateways the one unheard of for longest goes, 4010, for one at the other; the rest and others'
    stay.
    """
    one, two = pair
    other = await stack.enter_async_context(one.client("bob"))
    mine = await opened(stack, one, two, one, two, one, two, one)
    assert [await client.closed() for client in mine[:2]] == [4010, 4010]
    assert [node.gateway.counters.closes[4010] for node in pair] == [1, 1]
    last = await one.append("user:ann user:bob")
    assert [await client.seqs(1) for client in [*mine[2:], other]] == [[last]] * 6
    assert await seats(one) == 5


async def test_a_steady_desktop_outlives_a_phone_that_comes_and_goes(
    pair: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    """A phone comes back five times and leaves dead sockets, at another gateway than the desktop's. The desktop, of
    which one hears, stays although it is the oldest; a dead one goes, and may come back.
    """
    one, two = pair
    (desktop,) = await opened(stack, one)
    phone = await opened(stack, two, two, two, two)
    assert "ok" in await desktop.ask(op="ping")
    phone += await opened(stack, two)
    assert await phone[0].closed() == 4010
    last = await one.append("user:ann")
    assert [await client.seqs(1) for client in (desktop, *phone[1:])] == [[last]] * 5


@pytest.mark.parametrize("by", ["device", "replaces"])
async def test_who_comes_back_takes_his_own_place(pair: tuple[Node, Node], stack: AsyncExitStack, by: str) -> None:
    """By its device, or by the session that it names: its last socket ends with 4505 at once, and nobody else's."""
    one, two = pair
    desktop = await stack.enter_async_context(one.client("ann", app={"device": "desk"}))
    other = await stack.enter_async_context(two.client("bob", app={"device": "phone"}))
    hello: dict[str, Any] = {"app": {"device": "phone"}} if by == "device" else {}
    last = await stack.enter_async_context(two.client("ann", **hello))
    await seated(one, 2)
    for node in (one, two, one):
        again = hello if by == "device" else {"replaces": last.hello["session"]}  # type: ignore[attr-defined]
        last, before = await stack.enter_async_context(node.client("ann", **again)), last
        assert await before.closed() == 4505
    seq = await one.append("user:ann user:bob")
    assert [await client.seqs(1) for client in (desktop, last, other)] == [[seq]] * 3
    assert await seats(one) == 2


async def test_of_many_at_once_exactly_five_stay(pair: tuple[Node, Node], stack: AsyncExitStack) -> None:
    """Opened at the same moment on both, as many go as are over the limit, and not one more, round for round."""
    one, two = pair

    def open_now() -> int:
        return sum(len(node.gateway.sockets_of("ann")) for node in pair)

    for _ in range(4):
        mine = [await stack.enter_async_context(two.client("ann")) for _ in range(3)]
        mine += await asyncio.gather(*(stack.enter_async_context(one.client("ann")) for _ in range(6)))
        await wait_until(lambda: _settled(*pair), what="that nobody is still to go")
        assert open_now() == 5 and await seats(one) == 5


async def _settled(*nodes: Node) -> bool:
    """Whether nothing is left to be told to Redis, and each gateway has heard all that was told."""

    def telling() -> bool:
        return any(node.gateway.slots._tasks or node.gateway.slots._slots_to_release for node in nodes)

    if telling():
        return False
    head = await log.read_head(nodes[0].engine.store.reads, DEFAULT_ZONE)
    return not telling() and all(node.gateway.relay.tails[DEFAULT_ZONE].cursor >= head.seq for node in nodes)


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
    monkeypatch.setattr(sockets, "slot_lease_ms", lambda engine: 500)
    redis, mine = two.engine.store.redis, await opened(stack, two)
    await opened(stack, one, one, one)
    one.gateway.slots._slots.clear()  # as if it had been killed: it neither touches nor gives up

    async def outlived() -> bool:
        heard(two)
        await two.gateway.slots.touch()
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
        before = await _calls(node.engine)  # and nothing is closed meanwhile, which would be told too
        for _ in range(5):
            client = await stack.enter_async_context(node.raw())
            await client.ask(op="connect", token=bearer)
        if calls:
            await seated(node, 5)
        assert await _calls(node.engine) - before == calls


async def _calls(engine: Engine) -> int:
    stats = await engine.store.redis.info("commandstats")
    return int(stats.get("cmdstat_fcall", {}).get("calls", 0))


# Streams and polls


async def streaming(stack: AsyncExitStack, *sites: Site) -> list[Source]:
    """One stream of ann's at each of ``sites``, one after the other, each with its seat."""
    sources = []
    for site in sites:
        sources.append(await stack.enter_async_context(site.source("ann")))
        await wait_until(lambda s=site: all(s.gateway.slots._slots.values()), what="its seat")  # type: ignore[misc]
    return sources


async def test_the_oldest_stream_ends_wherever_it_is(sites: tuple[Site, Site], stack: AsyncExitStack) -> None:
    """Over five on two gateways the oldest is ended, 4010, by one at the other; the rest go on, and so do his sockets
    and others' streams, which are counted apart.
    """
    one, two = sites
    other = await stack.enter_async_context(one.source("bob"))
    socket = await stack.enter_async_context(one.node.client("ann"))
    mine = await streaming(stack, one, two, one, two, one, two, one)
    assert [(await source.ended())["code"] for source in mine[:2]] == [4010, 4010]
    assert [site.gateway.counters.closes[4010] for site in sites] == [1, 1]
    last = await one.node.append("user:ann user:bob")
    assert [await source.seqs(1) for source in [*mine[2:], other]] == [[last]] * 6
    assert await socket.seqs(1) == [last]
    redis = one.node.engine.store.redis
    assert (await redis.zcard(STREAMS), await seats(one.node)) == (5, 1)


async def test_a_stream_that_ends_gives_its_seat_back(sites: tuple[Site, Site], stack: AsyncExitStack) -> None:
    """One that is closed is not counted, nor are those of a gateway that has stopped: nobody goes for them."""
    one, two = sites
    mine = await streaming(stack, two, two)
    async with AsyncExitStack() as brief:
        await streaming(brief, one)
    await streaming(stack, one, one)
    await one.gateway.stop()
    redis = two.node.engine.store.redis

    async def counted() -> bool:
        return int(await redis.zcard(STREAMS)) == 2

    await wait_until(counted, what="two seats")
    mine += await streaming(stack, two, two, two)
    last = await two.node.append("user:ann")
    assert [await source.seqs(1) for source in mine] == [[last]] * 5


async def test_polls_take_no_seat(sites: tuple[Site, Site], stack: AsyncExitStack) -> None:
    """However many wait, over both gateways, Redis is not asked; at one gateway the sixth ends the first. Streams are
    counted apart.
    """
    one, two = sites
    asked = []
    for site in (one, one, one, one, one, two, two, two, two, two):
        waiting = site.gateway.streams.count + 1
        asked.append(asyncio.create_task(site.poll("ann", after=f"main:{epoch_name(1)}:0", wait=30)))
        await wait_until(lambda s=site, n=waiting: s.gateway.streams.count == n, what="a poll")  # type: ignore[misc]
    assert not any(task.done() for task in asked)
    assert one.gateway.slots._slots == two.gateway.slots._slots == {}
    assert not await one.node.engine.store.redis.exists(STREAMS)
    await streaming(stack, one)
    assert not asked[0].done()
    asked.append(asyncio.create_task(one.poll("ann", after=f"main:{epoch_name(1)}:0", wait=30)))
    assert (await asked[0])["events"] == []
    last = await one.node.append("user:ann")
    assert [event["seq"] for told in await asyncio.gather(*asked[1:]) for event in told["events"]] == [last] * 10


# Many at once

USERS, EACH = 240, 5


async def crowd(node: Node) -> list[Session]:
    """Sessions enough for three batches, each with its seat; there are no sockets behind them."""
    sessions = []
    for number in range(USERS * EACH):
        session = Session(node.gateway, f"ses_{number}", Credentials(None, None), node.gateway.hub)
        session.principal, session.state = principal(f"usr_{number % USERS}"), State.LIVE
        node.gateway.slots.open_slot(session)
        sessions.append(session)
    await wait_until(lambda: all(node.gateway.slots._slots.values()), what="everybody's seat")
    return sessions


async def touched(node: Node) -> list[float]:
    """When each seat was touched."""
    pipe = node.engine.store.redis.pipeline(transaction=False)
    for number in range(USERS):
        pipe.zrange(keys.socket_slots(DEFAULT_ZONE, UserId(f"usr_{number}")), 0, -1, withscores=True)
    return [at for scores in await pipe.execute() for _, at in scores]


@pytest.fixture
async def limited(settings: Settings) -> AsyncIterator[Node]:
    """A gateway that counts."""
    async with node_of(msgspec.structs.replace(settings, limits="on")) as node:
        yield node


async def test_all_of_many_are_touched_in_few_calls(limited: Node) -> None:
    """1,200 seats are held for another lease by three calls of 500 at most, none left out."""
    await crowd(limited)
    before, calls = max(await touched(limited)), await _calls(limited.engine)
    await asyncio.sleep(0.002)  # the next millisecond
    heard(limited)
    await limited.gateway.slots.touch()
    assert await _calls(limited.engine) - calls == 3
    after = await touched(limited)
    assert len(after) == USERS * EACH
    assert min(after) > before


async def test_who_ends_during_a_touch_keeps_no_seat(limited: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose turn comes later and who ends before it does not get back what he gave up: he would stand in the way of
    his next socket for a lease.
    """
    *_, last = await crowd(limited)
    done, touch = [], sockets.renew_slots

    async def first_then_ends(engine: Engine, held: Any) -> None:
        await touch(engine, held)
        if not done:
            last.handle_end(1006)
            await wait_until(lambda: not limited.gateway.slots._tasks, what="the end told")
        done.append(len(held))

    monkeypatch.setattr(sockets, "renew_slots", first_then_ends)
    await limited.gateway.slots.touch()
    assert done == [500, 500, 199]
    assert len(await touched(limited)) == USERS * EACH - 1


async def test_who_could_not_be_counted_is_counted_with_the_next_touch(
    limited: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody who joined while Redis was away has a seat then; who has ended meanwhile takes none, for which another
    of his would have to go.
    """
    opened = sockets.open_slot

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("Redis is away")

    monkeypatch.setattr(sockets, "open_slot", away)
    seats_of = limited.gateway.slots
    sessions = [Session(limited.gateway, f"ses_{n}", Credentials(None, None), limited.gateway.hub) for n in range(101)]
    for number, session in enumerate(sessions):
        session.principal, session.state = principal(f"usr_{number}"), State.LIVE
        seats_of.open_slot(session)
    await wait_until(lambda: not seats_of._tasks, what="the failures")
    assert not any(seats_of._slots.values()) and len(seats_of._slots) == 101
    sessions[-1].handle_end(1006)

    async def another_ends(*args: Any, **more: Any) -> sockets.ConnectionSlot:
        sessions[-2].handle_end(1006)
        assert not args[2].endswith(("_99", "_100"))
        return await opened(*args, **more)

    monkeypatch.setattr(sockets, "open_slot", another_ends)
    await seats_of.touch()
    assert all(seats_of._slots.values()) and len(seats_of._slots) == 99


async def test_a_zone_that_fails_keeps_no_seat_from_being_touched(
    settings: Settings, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Technicians' signs of life are told beside: where that goes wrong, open sockets are counted all the same."""

    async def fails(*_: Any) -> None:
        raise Unavailable("a zone is closed")

    monkeypatch.setattr(live, "renew_leases_in_all_zones", fails)
    node = await stack.enter_async_context(node_of(msgspec.structs.replace(settings, limits="on", ping_s=0.2)))
    client = await stack.enter_async_context(node.client("tina", "technician"))
    tina = keys.socket_slots(DEFAULT_ZONE, UserId("tina"))
    redis = node.engine.store.redis
    await wait_until(lambda: all(node.gateway.slots._slots.values()), what="her seat")
    answering = asyncio.create_task(client.receive())
    await redis.delete(tina)

    async def again() -> bool:
        return bool(await redis.exists(tina))

    await wait_until(again, what="her seat again")
    await node.append("user:tina")
    await answering
