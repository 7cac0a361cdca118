"""Delivery of an event: each addressed client receives it once, in order and in the format of PROTOCOL §4, and no other
client does.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from engine.events import ms_of
from engine.process.settings import Settings
from engine.store import keys
from engine.types import DEFAULT_ZONE, TechnicianId
from tests.server.gateway.conftest import Client, Node, running_node
from tests.support import live_accounts
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until


async def assert_no_push(client: Client) -> None:
    """Assert that no push is on its way to ``client``: the reply to a ping arrives after all earlier pushes."""
    reply = await client.request(op="ping")
    assert not client.pushes, reply


async def test_members_of_an_event(node: Node) -> None:
    """An event has the members type, event, zone, seq, at and data, in this order and as compact JSON."""
    async with node.connect("ann") as client:
        seq = await node.append("user:ann", data='{"a":[1,2],"text":"ü"}')
        raw = await client.socket.recv()
        event = json.loads(raw)
        assert list(event) == ["type", "event", "zone", "seq", "at", "data"]
        assert raw == json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        assert (event["type"], event["event"]) == ("test.event", "test.event")
        assert (event["zone"], event["seq"], event["data"]) == ("main", seq, {"a": [1, 2], "text": "ü"})
        assert ms_of(event["at"])


async def test_an_event_has_the_name_from_its_blueprint(node: Node) -> None:
    """A client receives the event name and the added fields that the blueprint declares, together with the engine's
    type.
    """
    async with node.connect("ann") as client:
        await node.append("user:ann", kind="offer.closed", data='{"job":{"id":"job_1"},"reason":"taken"}')
        await node.append("user:ann", kind="offer.closed", data='{"job":{"id":"job_2"},"reason":"withdrawn"}')
        taken, other = await client.next_push(), await client.next_push()
        assert (taken["type"], taken["event"], taken["data"]["bookingId"]) == (
            "offer.closed",
            "job_taken",
            "job_1",
        )
        assert other["event"] == "offer.closed"


async def test_only_addressed_clients_receive_an_event(node: Node) -> None:
    """Events to user, role and alias channels (`role:ops`, `role:managers`) reach only the users and roles that the
    channels name.
    """
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(node.connect("ann"))
        bob = await stack.enter_async_context(node.connect("bob", "technician"))
        eve = await stack.enter_async_context(node.connect("eve", "admin"))
        mia = await stack.enter_async_context(node.connect("mia", "onboarding_manager"))
        expected = {
            await node.append("user:ann"): [ann],
            await node.append("role:technician user:ann"): [ann, bob],
            await node.append("role:ops"): [eve],
            await node.append("role:managers"): [eve, mia],
            await node.append("role:customer user:ann role:technician user:bob"): [ann, bob],
            await node.append("user:nobody"): [],
        }
        for client in (ann, bob, eve, mia):
            addressed_seqs = [seq for seq, whom in expected.items() if client in whom]
            assert await client.next_seqs(len(addressed_seqs)) == addressed_seqs
            await assert_no_push(client)


async def test_several_connections_of_one_user(node: Node) -> None:
    """Each connection of a user receives each event."""
    async with node.connect("ann") as one, node.connect("ann") as two:
        seq = await node.append("user:ann")
        assert (await one.next_push())["seq"] == (await two.next_push())["seq"] == seq


async def test_zone_subscription(node: Node) -> None:
    """Ops who subscribe to a zone receive all its events. An event that is also addressed to them is received once."""
    async with node.connect("eve", "ops_manager") as client:
        reply = await client.request(op="subscribe", channel="zone:main")
        head = reply["ok"]["seq"]
        assert head == node.gateway.relay.tails[DEFAULT_ZONE].cursor
        await node.append("user:ann")
        await node.append("role:ops user:eve")
        assert await client.next_seqs(2) == [head + 1, head + 2]
        assert "ok" in await client.request(op="unsubscribe", channel="zone:main")
        await node.append("user:ann")
        last = await node.append("role:ops")
        assert await client.next_seqs(1) == [last]


async def test_own_channels_cannot_be_left(node: Node) -> None:
    """A user cannot unsubscribe from the user's own channel."""
    async with node.connect("ann") as client:
        reply = await client.request(op="unsubscribe", channel="user:ann")
        assert reply["error"]["code"] == "forbidden"
        seq = await node.append("user:ann")
        assert await client.next_seqs(1) == [seq]


async def test_waiting_events_are_sent_in_one_write(node: Node) -> None:
    """All events that wait for a session are sent in one write and in order."""
    async with node.connect("ann") as client:
        before = node.gateway.counters.writes
        last = await node.append("user:ann", times=400)
        assert await client.next_seqs(400) == list(range(last - 399, last + 1))
        assert node.gateway.counters.writes - before < 100


async def test_an_event_may_exceed_the_limit_of_client_frames(node: Node) -> None:
    """The limit of 64 KiB applies only to frames that the server receives. A larger event is delivered whole."""
    async with node.connect("ann") as client:
        await node.append("user:ann", data=json.dumps({"text": "x" * 300_000}))
        assert len((await client.next_push())["data"]["text"]) == 300_000


async def test_ping_counts_logged_pushes(node: Node) -> None:
    """The reply to a ping contains the number of pushes before it, and arrives after them."""
    async with node.connect("ann") as client:
        assert (await client.request(op="ping"))["ok"]["n"] == 0
        await node.wait_until_relayed(await node.append("user:ann", times=7))
        assert (await client.request(op="ping"))["ok"]["n"] == 7
        assert len(client.pushes) == 7


async def test_suspension_and_a_new_role_close_the_sockets(node: Node) -> None:
    """A suspension closes the user's sockets with 4502, a change of role with 4006. Other users' sockets
    remain open.
    """
    async with node.connect("ann") as ann, node.connect("bob") as bob, node.connect("cid") as cid:
        await live_accounts.suspend(node.engine, "ann")
        await live_accounts.change_role(node.engine, "bob", "technician")
        assert await ann.wait_for_close() == 4502
        assert await bob.wait_for_close() == 4006
        await assert_no_push(cid)
    assert node.gateway.counters.closes_by_code[4502] == 1


async def test_session_events_are_sent_to_nobody(node: Node) -> None:
    """Events for gateways (`session.*`) are neither delivered nor replayed, not even to a client that is subscribed to
    the whole zone.
    """
    async with node.connect("eve", "admin") as client:
        await client.request(op="subscribe", channel="zone:main")
        start = node.gateway.relay.tails[DEFAULT_ZONE].head
        await node.append("user:zed", kind="session.revoked", data='{"code":4502,"reason":"x"}')
        seq = await node.append("user:zed")
        assert await client.next_seqs(1) == [seq]
    cursors = {"main": {"epoch": start.epoch, "seq": start.seq}}
    async with node.connect("eve", "admin", cursors=cursors, subs=["zone:main"]) as client:
        assert await client.next_seqs(1) == [seq]
        await assert_no_push(client)


@pytest.fixture
def fast_ping_settings(settings: Settings) -> Settings:
    """Return settings with four pings a second."""
    return msgspec.structs.replace(settings, ping_s=0.25, pong_s=0.1)


async def test_heads_before_pings(fast_ping_settings: Settings) -> None:
    """Before each ping the server sends the head of the zone. It moves the cursor of a client to which no event was
    addressed.
    """
    async with running_node(fast_ping_settings) as node, node.connect("ann") as client:
        seq = await node.append("user:bob", times=50)
        await node.wait_until_relayed(seq)
        head = json.loads(await client.socket.recv())
        while head["seq"] < seq:
            assert json.loads(await client.socket.recv()) == {}
            await client.send("{}")
            head = json.loads(await client.socket.recv())
        assert head == {"zone": "main", "epoch": epoch_name(1), "seq": seq}
        assert await client.socket.recv() == "{}"


async def test_a_client_that_sends_no_pong_is_closed(fast_ping_settings: Settings) -> None:
    """A client that does not answer a ping is closed with 4002. A client that answers remains connected."""
    async with running_node(fast_ping_settings) as node, node.connect("ann") as silent, node.connect("bob") as polite:
        close_task = asyncio.create_task(silent.wait_for_close())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await polite.receive()
        assert await close_task == 4002
        await assert_no_push(polite)


async def test_leases_of_active_technicians_are_renewed(fast_ping_settings: Settings) -> None:
    """In each ping interval the leases of technicians who sent a message or a pong are renewed. No other lease is
    renewed.
    """
    async with running_node(fast_ping_settings) as node, node.connect("tom", "technician") as client:
        redis = node.engine.store.redis
        await redis.zadd(keys.last_seen(DEFAULT_ZONE), {TechnicianId("tom"): 1, "gone": 1})
        receive_task = asyncio.create_task(client.receive())

        async def is_renewed() -> bool:
            return (await redis.zscore(keys.last_seen(DEFAULT_ZONE), "tom") or 0) > 1

        await wait_until(is_renewed)
        assert await redis.zscore(keys.last_seen(DEFAULT_ZONE), "gone") == 1
        receive_task.cancel()
        await asyncio.gather(receive_task, return_exceptions=True)


async def test_a_lost_socket_renews_the_lease_of_its_technician(settings: Settings) -> None:
    """When a technician's socket breaks, the lease is renewed from the time of the last frame. A customer has
    no lease.
    """
    async with running_node(msgspec.structs.replace(settings, ping_s=2.0)) as node:
        redis, name = node.engine.store.redis, keys.last_seen(DEFAULT_ZONE)
        await redis.zadd(name, {TechnicianId("tom"): 1, "ann": 1})
        async with node.connect("tom", "technician") as tom, node.connect("ann") as ann:
            tom.socket.transport.abort()
            ann.socket.transport.abort()
            await wait_until(lambda: not node.gateway.sessions)
        assert await redis.zscore(name, "tom") == 1

        async def is_renewed() -> bool:
            return (await redis.zscore(name, "tom") or 0) > 1

        await wait_until(is_renewed, what="the renewal of the lease")
        assert await redis.zscore(name, "ann") == 1


async def test_ended_sockets_leave_nothing(node: Node) -> None:
    """A socket that ended, with or without a close frame, is no longer subscribed to any channel."""
    async with node.connect("ann") as polite, node.connect("bob") as rude:
        await polite.socket.close(1000)
        rude.socket.transport.abort()
        await wait_until(lambda: not node.gateway.sessions)
        assert not node.gateway.hub.channels
        assert node.gateway.counters.closes_by_code == {1000: 1, 1006: 1}
        with pytest.raises(ConnectionClosed):
            await rude.socket.recv()


async def test_an_event_that_does_not_fit_its_blueprint(node: Node) -> None:
    """An event that lacks the members which its blueprint requires is delivered under the engine's name."""
    async with node.connect("ann") as client:
        seq = await node.append("user:ann", kind="offer.closed", data='{"job":7,"reason":"taken"}')
        push = await client.next_push()
        assert (push["seq"], push["type"], push["data"]["job"]) == (seq, "offer.closed", 7)
