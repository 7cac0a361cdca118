"""Connection slots: at most five sockets and five event streams for each user, counted over all gateways of
one Redis.
"""

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
from engine.technicians import lease_renewal
from engine.types import DEFAULT_ZONE, UserId
from engine.zone import log
from server.gateway.protocol import Credentials, State
from server.gateway.session import Session
from server.serve import run_server
from tests.server.gateway.conftest import Client, Node, principal, running_node
from tests.server.gateway.streams import EventServer, EventStream, open_event_server
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until

ANN_SOCKETS = keys.socket_slots(DEFAULT_ZONE, UserId("ann"))
ANN_STREAMS = keys.stream_slots(DEFAULT_ZONE, UserId("ann"))


def second_settings(first: Settings) -> Settings:
    """Return settings of a second server with the same Redis, signing key and database."""
    shared = {"key_file": f"{first.data}/signing.key", "files": f"{first.data}/blobs"}
    shared["database"] = f"sqlite:///{first.data}/callout.db"
    return msgspec.structs.replace(first, data=f"{first.data}2", **shared)


@pytest.fixture
async def two_nodes(settings: Settings) -> AsyncIterator[tuple[Node, Node]]:
    """Run two gateways with the same Redis and the same signing key."""
    one = msgspec.structs.replace(settings, limits="on")
    two = second_settings(one)
    async with running_node(one) as first, running_node(two) as other:
        yield first, other


@pytest.fixture
async def two_servers(settings: Settings) -> AsyncIterator[tuple[EventServer, EventServer]]:
    """Run two servers with the same Redis and the same signing key."""
    one = msgspec.structs.replace(settings, limits="on", port=0, roles=("gateway",))
    two = second_settings(one)
    async with (
        run_server(one) as first,
        run_server(two) as other,
        open_event_server(first) as first_server,
        open_event_server(other) as second_server,
    ):
        yield first_server, second_server


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Yield an exit stack, which closes at the end all connections that a test has opened."""
    async with AsyncExitStack() as opened:
        yield opened


async def slot_count(node: Node) -> int:
    """Return how many connection slots ann's sockets have in Redis."""
    return int(await node.engine.store.redis.zcard(ANN_SOCKETS))


async def wait_for_slot_count(node: Node, count: int) -> None:
    """Wait until ann's sockets have ``count`` slots."""

    async def is_counted() -> bool:
        """Return whether ann's sockets have ``count`` slots."""
        return await slot_count(node) == count

    await wait_until(is_counted, what=f"{count} slots")


def mark_active(node: Node) -> None:
    """Mark each session of the gateway as if its client had sent a message now."""
    for session in node.gateway.slots._slots:
        session.received_at = monotonic()


async def open_sockets(stack: AsyncExitStack, *nodes: Node) -> list[Client]:
    """Open one socket of ann at each of ``nodes``, one after the other. Before each, all open sessions are made one
    second older, so that delays of the reports to Redis do not change their order.
    """
    clients = []
    for node in nodes:
        for session in {one for each in nodes for one in each.gateway.sessions}:
            session.received_at -= 1
        before = {session.id for session in node.gateway.sessions}
        clients.append(await stack.enter_async_context(node.connect("ann")))
        (new,) = [session for session in node.gateway.sessions if session.id not in before]
        await wait_until(lambda n=node, s=new: n.gateway.slots._slots.get(s), what="its slot")  # type: ignore[misc]
    return clients


async def test_the_oldest_socket_is_closed_on_any_gateway(two_nodes: tuple[Node, Node], stack: AsyncExitStack) -> None:
    """With more than five sockets on two gateways, the socket that has been silent longest is closed with 4010."""
    one, two = two_nodes
    other = await stack.enter_async_context(one.connect("bob"))
    clients = await open_sockets(stack, one, two, one, two, one, two, one)
    assert [await client.wait_for_close() for client in clients[:2]] == [4010, 4010]
    assert [node.gateway.counters.closes_by_code[4010] for node in two_nodes] == [1, 1]
    last = await one.append("user:ann user:bob")
    assert [await client.next_seqs(1) for client in [*clients[2:], other]] == [[last]] * 6
    assert await slot_count(one) == 5


async def test_an_active_desktop_outlives_a_phone_that_reconnects(
    two_nodes: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    """A phone that reconnects five times leaves dead sockets. The desktop, which has just sent a message, remains open
    although it is the oldest: a dead socket is closed with 4010 instead.
    """
    one, two = two_nodes
    (desktop,) = await open_sockets(stack, one)
    phone = await open_sockets(stack, two, two, two, two)
    assert "ok" in await desktop.request(op="ping")
    phone += await open_sockets(stack, two)
    assert await phone[0].wait_for_close() == 4010
    last = await one.append("user:ann")
    assert [await client.next_seqs(1) for client in (desktop, *phone[1:])] == [[last]] * 5


@pytest.mark.parametrize("by", ["device", "replaces"])
async def test_a_client_that_reconnects_replaces_its_own_socket(
    two_nodes: tuple[Node, Node], stack: AsyncExitStack, by: str
) -> None:
    """A client that names its device, or the session that it replaces, gets its last socket closed with 4505. No other
    socket is closed.
    """
    one, two = two_nodes
    desktop = await stack.enter_async_context(one.connect("ann", app={"device": "desk"}))
    other = await stack.enter_async_context(two.connect("bob", app={"device": "phone"}))
    hello: dict[str, Any] = {"app": {"device": "phone"}} if by == "device" else {}
    last = await stack.enter_async_context(two.connect("ann", **hello))
    await wait_for_slot_count(one, 2)
    for node in (one, two, one):
        again = hello if by == "device" else {"replaces": last.hello["session"]}  # type: ignore[attr-defined]
        last, before = await stack.enter_async_context(node.connect("ann", **again)), last
        assert await before.wait_for_close() == 4505
    seq = await one.append("user:ann user:bob")
    assert [await client.next_seqs(1) for client in (desktop, last, other)] == [[seq]] * 3
    assert await slot_count(one) == 2


async def test_exactly_five_of_many_new_sockets_remain(two_nodes: tuple[Node, Node], stack: AsyncExitStack) -> None:
    """If many sockets are opened at two gateways at the same moment, exactly five remain."""
    one, two = two_nodes

    def open_count() -> int:
        return sum(len(node.gateway.sockets_of("ann")) for node in two_nodes)

    for _ in range(4):
        clients = [await stack.enter_async_context(two.connect("ann")) for _ in range(3)]
        clients += await asyncio.gather(*(stack.enter_async_context(one.connect("ann")) for _ in range(6)))
        await wait_until(lambda: _is_settled(*two_nodes), what="the close of all sockets over the limit")
        assert open_count() == 5 and await slot_count(one) == 5


async def _is_settled(*nodes: Node) -> bool:
    """Return whether no report to Redis is pending, and each gateway has read the whole log."""

    def is_sending() -> bool:
        return any(node.gateway.slots._tasks or node.gateway.slots._slots_to_release for node in nodes)

    if is_sending():
        return False
    head = await log.read_head(nodes[0].engine.store.read_connection, DEFAULT_ZONE)
    return not is_sending() and all(node.gateway.relay.tails[DEFAULT_ZONE].cursor >= head.seq for node in nodes)


async def test_a_closed_socket_releases_its_slot(two_nodes: tuple[Node, Node], stack: AsyncExitStack) -> None:
    """A closed socket is no longer counted: another socket can be opened, and no socket is closed for it."""
    one, two = two_nodes
    clients = await open_sockets(stack, one, one, one, two, two)
    await clients[4].socket.close()
    await wait_for_slot_count(one, 4)
    clients[4:] = await open_sockets(stack, one)
    last = await two.append("user:ann")
    assert [await client.next_seqs(1) for client in clients] == [[last]] * 5
    for client in clients:
        await client.socket.close()
    await wait_for_slot_count(one, 0)
    assert not await one.engine.store.redis.exists(ANN_SOCKETS)


async def test_open_sockets_are_touched(settings: Settings, stack: AsyncExitStack) -> None:
    """A slot is renewed once in each ping interval. A slot that was deleted is restored."""
    node = await stack.enter_async_context(running_node(msgspec.structs.replace(settings, limits="on", ping_s=0.5)))
    redis, (client,) = node.engine.store.redis, await open_sockets(stack, node)
    answering = asyncio.create_task(client.receive())
    ((_, touched_at),) = await redis.zrange(ANN_SOCKETS, 0, -1, withscores=True)

    async def is_renewed() -> bool:
        return bool(await redis.zcount(ANN_SOCKETS, touched_at + 1, "inf"))

    await wait_until(is_renewed, what="a renewal")
    await redis.delete(ANN_SOCKETS)
    await wait_for_slot_count(node, 1)
    await node.append("user:ann")
    assert (await answering)["seq"] == 1


async def test_the_slots_of_a_dead_gateway_expire(
    two_nodes: tuple[Node, Node], stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slots of a killed gateway expire after one lease. Four more sockets can then be opened at the other gateway,
    and its oldest socket remains open.
    """
    one, two = two_nodes
    monkeypatch.setattr(sockets, "slot_lease_ms", lambda engine: 500)
    redis, clients = two.engine.store.redis, await open_sockets(stack, two)
    await open_sockets(stack, one, one, one)
    one.gateway.slots._slots.clear()  # as if killed: it neither renews nor releases its slots

    async def has_lease_ended() -> bool:
        mark_active(two)
        await two.gateway.slots.renew_all_slots()
        scores = [at for _, at in await redis.zrange(ANN_SOCKETS, 0, -1, withscores=True)]
        return max(scores) - min(scores) > 500 or len(scores) == 1

    await wait_until(has_lease_ended, what="a lease without renewals")
    clients += await open_sockets(stack, two, two, two, two)
    last = await two.append("user:ann")
    assert [await client.next_seqs(1) for client in clients] == [[last]] * 5


async def test_a_connect_costs_one_call_to_redis(settings: Settings, stack: AsyncExitStack) -> None:
    """Five connects cost five script calls. With limits off they cost none."""
    for limits, calls in (("on", 5), ("off", 0)):
        node = await stack.enter_async_context(running_node(msgspec.structs.replace(settings, limits=limits)))
        bearer = await node.token("ann")
        # No socket is closed during the count, because a close costs a call too.
        before = await _script_calls(node.engine)
        for _ in range(5):
            client = await stack.enter_async_context(node.open_socket())
            await client.request(op="connect", token=bearer)
        if calls:
            await wait_for_slot_count(node, 5)
        assert await _script_calls(node.engine) - before == calls


async def _script_calls(engine: Engine) -> int:
    """Return how many script calls Redis has counted."""
    stats = await engine.store.redis.info("commandstats")
    return int(stats.get("cmdstat_fcall", {}).get("calls", 0))


# Streams and polls


async def open_streams(stack: AsyncExitStack, *sites: EventServer) -> list[EventStream]:
    """Open one stream of ann at each of ``sites``, and wait each time until the stream has its slot."""
    sources = []
    for site in sites:
        sources.append(await stack.enter_async_context(site.open_stream("ann")))
        await wait_until(lambda s=site: all(s.gateway.slots._slots.values()), what="its slot")  # type: ignore[misc]
    return sources


async def test_the_oldest_stream_is_ended_on_any_gateway(
    two_servers: tuple[EventServer, EventServer], stack: AsyncExitStack
) -> None:
    """With more than five streams on two gateways, the oldest is ended with 4010. The other streams continue, as do
    ann's socket, which is counted separately, and bob's stream.
    """
    one, two = two_servers
    other = await stack.enter_async_context(one.open_stream("bob"))
    socket = await stack.enter_async_context(one.node.connect("ann"))
    streams = await open_streams(stack, one, two, one, two, one, two, one)
    assert [(await source.close_data())["code"] for source in streams[:2]] == [4010, 4010]
    assert [site.gateway.counters.closes_by_code[4010] for site in two_servers] == [1, 1]
    last = await one.node.append("user:ann user:bob")
    assert [await source.next_seqs(1) for source in [*streams[2:], other]] == [[last]] * 6
    assert await socket.next_seqs(1) == [last]
    redis = one.node.engine.store.redis
    assert (await redis.zcard(ANN_STREAMS), await slot_count(one.node)) == (5, 1)


async def test_a_stream_that_ends_releases_its_slot(
    two_servers: tuple[EventServer, EventServer], stack: AsyncExitStack
) -> None:
    """A closed stream and the streams of a stopped gateway are no longer counted: no stream is ended for them."""
    one, two = two_servers
    streams = await open_streams(stack, two, two)
    async with AsyncExitStack() as brief:
        await open_streams(brief, one)
    await open_streams(stack, one, one)
    await one.gateway.stop()
    redis = two.node.engine.store.redis

    async def is_counted() -> bool:
        return int(await redis.zcard(ANN_STREAMS)) == 2

    await wait_until(is_counted, what="two slots")
    streams += await open_streams(stack, two, two, two)
    last = await two.node.append("user:ann")
    assert [await source.next_seqs(1) for source in streams] == [[last]] * 5


async def test_polls_take_no_slot(two_servers: tuple[EventServer, EventServer], stack: AsyncExitStack) -> None:
    """Polls make no call to Redis, even if many of them wait at two gateways. At one gateway the sixth poll ends the
    first. Streams are counted separately.
    """
    one, two = two_servers
    polls = []
    for site in (one, one, one, one, one, two, two, two, two, two):
        waiting = site.gateway.streams.count + 1
        polls.append(asyncio.create_task(site.poll("ann", after=f"main:{epoch_name(1)}:0", wait=30)))
        await wait_until(lambda s=site, n=waiting: s.gateway.streams.count == n, what="a poll")  # type: ignore[misc]
    assert not any(task.done() for task in polls)
    assert one.gateway.slots._slots == two.gateway.slots._slots == {}
    assert not await one.node.engine.store.redis.exists(ANN_STREAMS)
    await open_streams(stack, one)
    assert not polls[0].done()
    polls.append(asyncio.create_task(one.poll("ann", after=f"main:{epoch_name(1)}:0", wait=30)))
    assert (await polls[0])["events"] == []
    last = await one.node.append("user:ann")
    assert [event["seq"] for reply in await asyncio.gather(*polls[1:]) for event in reply["events"]] == [last] * 10


# Many at once

USERS, SLOTS_PER_USER = 240, 5


async def sessions_with_slots(node: Node) -> list[Session]:
    """Create enough sessions for three batches, and wait until each has its slot. They have no sockets."""
    sessions = []
    for number in range(USERS * SLOTS_PER_USER):
        session = Session(node.gateway, f"ses_{number}", Credentials(None, None), node.gateway.hub)
        session.principal, session.state = principal(f"usr_{number % USERS}"), State.LIVE
        node.gateway.slots.open_slot(session)
        sessions.append(session)
    await wait_until(lambda: all(node.gateway.slots._slots.values()), what="a slot for each session")
    return sessions


async def touch_times(node: Node) -> list[float]:
    """Return the time (ms) of the last renewal of each slot."""
    pipe = node.engine.store.redis.pipeline(transaction=False)
    for number in range(USERS):
        pipe.zrange(keys.socket_slots(DEFAULT_ZONE, UserId(f"usr_{number}")), 0, -1, withscores=True)
    return [at for scores in await pipe.execute() for _, at in scores]


@pytest.fixture
async def limited_node(settings: Settings) -> AsyncIterator[Node]:
    """Run a gateway with limits on, so that slots are counted."""
    async with running_node(msgspec.structs.replace(settings, limits="on")) as node:
        yield node


async def test_many_slots_are_renewed_in_few_calls(limited_node: Node) -> None:
    """1,200 slots are renewed by three calls of at most 500 slots each."""
    await sessions_with_slots(limited_node)
    before, calls = max(await touch_times(limited_node)), await _script_calls(limited_node.engine)
    await asyncio.sleep(0.002)  # the next millisecond
    mark_active(limited_node)
    await limited_node.gateway.slots.renew_all_slots()
    assert await _script_calls(limited_node.engine) - calls == 3
    after = await touch_times(limited_node)
    assert len(after) == USERS * SLOTS_PER_USER
    assert min(after) > before


async def test_a_session_that_ends_during_a_touch_has_no_slot(
    limited_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ends before its batch is renewed does not get its released slot back, because that slot would
    count against the next socket of the user for one lease.
    """
    *_, last = await sessions_with_slots(limited_node)
    done, touch = [], sockets.renew_slots

    async def touch_then_end(engine: Engine, sessions: Any) -> None:
        await touch(engine, sessions)
        if not done:
            last.handle_end(1006)
            await wait_until(lambda: not limited_node.gateway.slots._tasks, what="the release of the slot")
        done.append(len(sessions))

    monkeypatch.setattr(sockets, "renew_slots", touch_then_end)
    await limited_node.gateway.slots.renew_all_slots()
    assert done == [500, 500, 199]
    assert len(await touch_times(limited_node)) == USERS * SLOTS_PER_USER - 1


async def test_an_uncounted_session_is_counted_with_the_next_touch(
    limited_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that joined while Redis was unavailable get their slot with the next renewal. A session that has ended
    by then gets none, because another session of the user would be closed for it.
    """
    opened = sockets.open_slot

    async def fail_to_open(*_: Any, **__: Any) -> None:
        raise Unavailable("Redis is away")

    monkeypatch.setattr(sockets, "open_slot", fail_to_open)
    slots = limited_node.gateway.slots
    sessions = [
        Session(limited_node.gateway, f"ses_{n}", Credentials(None, None), limited_node.gateway.hub) for n in range(101)
    ]
    for number, session in enumerate(sessions):
        session.principal, session.state = principal(f"usr_{number}"), State.LIVE
        slots.open_slot(session)
    await wait_until(lambda: not slots._tasks, what="the failures")
    assert not any(slots._slots.values()) and len(slots._slots) == 101
    sessions[-1].handle_end(1006)

    async def open_while_one_ends(*args: Any, **more: Any) -> sockets.ConnectionSlot:
        sessions[-2].handle_end(1006)
        assert not args[2].endswith(("_99", "_100"))
        return await opened(*args, **more)

    monkeypatch.setattr(sockets, "open_slot", open_while_one_ends)
    await slots.renew_all_slots()
    assert all(slots._slots.values()) and len(slots._slots) == 99


async def test_a_failing_zone_does_not_stop_the_renewal_of_slots(
    settings: Settings, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leases of technicians are renewed at the same time. If that fails, the slots of open sockets are renewed
    nevertheless.
    """

    async def fail_to_touch(*_: Any) -> None:
        raise Unavailable("a zone is closed")

    monkeypatch.setattr(lease_renewal, "renew_leases_in_own_zones", fail_to_touch)
    node = await stack.enter_async_context(running_node(msgspec.structs.replace(settings, limits="on", ping_s=0.2)))
    client = await stack.enter_async_context(node.connect("tina", "technician"))
    tina = keys.socket_slots(DEFAULT_ZONE, UserId("tina"))
    redis = node.engine.store.redis
    await wait_until(lambda: all(node.gateway.slots._slots.values()), what="the slot")
    answering = asyncio.create_task(client.receive())
    await redis.delete(tina)

    async def has_slot() -> bool:
        return bool(await redis.exists(tina))

    await wait_until(has_slot, what="the slot again")
    await node.append("user:tina")
    await answering
