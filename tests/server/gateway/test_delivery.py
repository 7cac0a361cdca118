"""Who gets an event: everybody on its channels, once, in order, in the shape of PROTOCOL §4, and nobody else."""

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
from tests.server.gateway.conftest import Client, Node, node_of
from tests.support import live_accounts
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until


async def quiet(client: Client) -> None:
    """Nothing is on its way to ``client``: the answer to a ping comes behind all that was."""
    reply = await client.ask(op="ping")
    assert not client.pushes, reply


async def test_shape_of_an_event(node: Node) -> None:
    """An event has type, event, zone, seq, at and data, compact and in this order."""
    async with node.client("ann") as client:
        seq = await node.append("user:ann", data='{"a":[1,2],"text":"ü"}')
        raw = await client.socket.recv()
        event = json.loads(raw)
        assert list(event) == ["type", "event", "zone", "seq", "at", "data"]
        assert raw == json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        assert (event["type"], event["event"]) == ("test.event", "test.event")
        assert (event["zone"], event["seq"], event["data"]) == ("main", seq, {"a": [1, 2], "text": "ü"})
        assert ms_of(event["at"])


async def test_names_are_the_blueprints(node: Node) -> None:
    """A client sees the name and the added fields that the blueprint gives an event, beside the engine's."""
    async with node.client("ann") as client:
        await node.append("user:ann", kind="offer.closed", data='{"job":{"id":"job_1"},"reason":"taken"}')
        await node.append("user:ann", kind="offer.closed", data='{"job":{"id":"job_2"},"reason":"withdrawn"}')
        taken, other = await client.push(), await client.push()
        assert (taken["type"], taken["event"], taken["data"]["bookingId"]) == (
            "offer.closed",
            "job_taken",
            "job_1",
        )
        assert other["event"] == "offer.closed"


async def test_only_those_addressed(node: Node) -> None:
    """User, role and alias channels reach whom they name; the others hear nothing."""
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(node.client("ann"))
        bob = await stack.enter_async_context(node.client("bob", "technician"))
        eve = await stack.enter_async_context(node.client("eve", "admin"))
        mia = await stack.enter_async_context(node.client("mia", "onboarding_manager"))
        expected = {
            await node.append("user:ann"): [ann],
            await node.append("role:technician user:ann"): [ann, bob],
            await node.append("role:ops"): [eve],
            await node.append("role:managers"): [eve, mia],
            await node.append("role:customer user:ann role:technician user:bob"): [ann, bob],
            await node.append("user:nobody"): [],
        }
        for client in (ann, bob, eve, mia):
            mine = [seq for seq, whom in expected.items() if client in whom]
            assert await client.seqs(len(mine)) == mine
            await quiet(client)


async def test_several_connections_of_one_user(node: Node) -> None:
    """Each connection of a user gets each event."""
    async with node.client("ann") as one, node.client("ann") as two:
        seq = await node.append("user:ann")
        assert (await one.push())["seq"] == (await two.push())["seq"] == seq


async def test_zone_subscription(node: Node) -> None:
    """Ops may hear everything in a zone: each event once, also one that is addressed to them besides."""
    async with node.client("eve", "ops_manager") as client:
        reply = await client.ask(op="subscribe", channel="zone:main")
        head = reply["ok"]["seq"]
        assert head == node.gateway.relay.tails[DEFAULT_ZONE].cursor
        await node.append("user:ann")
        await node.append("role:ops user:eve")
        assert await client.seqs(2) == [head + 1, head + 2]
        assert "ok" in await client.ask(op="unsubscribe", channel="zone:main")
        await node.append("user:ann")
        last = await node.append("role:ops")
        assert await client.seqs(1) == [last]


async def test_own_channels_cannot_be_left(node: Node) -> None:
    """What comes by itself cannot be unsubscribed."""
    async with node.client("ann") as client:
        reply = await client.ask(op="unsubscribe", channel="user:ann")
        assert reply["error"]["code"] == "forbidden"
        seq = await node.append("user:ann")
        assert await client.seqs(1) == [seq]


async def test_many_at_once_are_joined(node: Node) -> None:
    """What is waiting for a session goes out in one write, in order."""
    async with node.client("ann") as client:
        before = node.gateway.counters.writes
        last = await node.append("user:ann", times=400)
        assert await client.seqs(400) == list(range(last - 399, last + 1))
        assert node.gateway.counters.writes - before < 100


async def test_events_larger_than_a_frame_in(node: Node) -> None:
    """The limit on frames is for what comes in; a large event is delivered whole."""
    async with node.client("ann") as client:
        await node.append("user:ann", data=json.dumps({"text": "x" * 300_000}))
        assert len((await client.push())["data"]["text"]) == 300_000


async def test_ping_counts_logged_pushes(node: Node) -> None:
    """The answer to a ping comes behind the pushes that it counts."""
    async with node.client("ann") as client:
        assert (await client.ask(op="ping"))["ok"]["n"] == 0
        await node.relayed(await node.append("user:ann", times=7))
        assert (await client.ask(op="ping"))["ok"]["n"] == 7
        assert len(client.pushes) == 7


async def test_revoked_and_role_changed(node: Node) -> None:
    """Suspension closes the user's sockets with 4502, a change of role with 4006; others stay."""
    async with node.client("ann") as ann, node.client("bob") as bob, node.client("cid") as cid:
        await live_accounts.suspend(node.engine, "ann")
        await live_accounts.change_role(node.engine, "bob", "technician")
        assert await ann.closed() == 4502
        assert await bob.closed() == 4006
        await quiet(cid)
    assert node.gateway.counters.closes[4502] == 1


async def test_session_events_are_sent_to_nobody(node: Node) -> None:
    """Events for gateways are neither delivered nor replayed, not even to who hears the whole zone."""
    async with node.client("eve", "admin") as client:
        await client.ask(op="subscribe", channel="zone:main")
        start = node.gateway.relay.tails[DEFAULT_ZONE].head
        await node.append("user:zed", kind="session.revoked", data='{"code":4502,"reason":"x"}')
        seq = await node.append("user:zed")
        assert await client.seqs(1) == [seq]
    cursors = {"main": {"epoch": start.epoch, "seq": start.seq}}
    async with node.client("eve", "admin", cursors=cursors, subs=["zone:main"]) as client:
        assert await client.seqs(1) == [seq]
        await quiet(client)


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Pings four times a second."""
    return msgspec.structs.replace(settings, ping_s=0.25, pong_s=0.1)


async def test_heads_before_pings(quick: Settings) -> None:
    """Before each ping comes the head of the zone: the cursor of one to whom nothing was addressed."""
    async with node_of(quick) as node, node.client("ann") as client:
        seq = await node.append("user:bob", times=50)
        await node.relayed(seq)
        head = json.loads(await client.socket.recv())
        while head["seq"] < seq:
            assert json.loads(await client.socket.recv()) == {}
            await client.send("{}")
            head = json.loads(await client.socket.recv())
        assert head == {"zone": "main", "epoch": epoch_name(1), "seq": seq}
        assert await client.socket.recv() == "{}"


async def test_no_pong(quick: Settings) -> None:
    """Who does not answer a ping is closed with 4002; who does stays."""
    async with node_of(quick) as node, node.client("ann") as silent, node.client("bob") as polite:
        closed = asyncio.create_task(silent.closed())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await polite.receive()
        assert await closed == 4002
        await quiet(polite)


async def test_signs_of_life(quick: Settings) -> None:
    """Each interval the leases of all technicians that were heard from are renewed, and no others made."""
    async with node_of(quick) as node, node.client("tom", "technician") as client:
        redis = node.engine.store.redis
        await redis.zadd(keys.last_seen(DEFAULT_ZONE), {TechnicianId("tom"): 1, "gone": 1})
        reading = asyncio.create_task(client.receive())

        async def renewed() -> bool:
            return (await redis.zscore(keys.last_seen(DEFAULT_ZONE), "tom") or 0) > 1

        await wait_until(renewed)
        assert await redis.zscore(keys.last_seen(DEFAULT_ZONE), "gone") == 1
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_who_goes_was_heard_from(settings: Settings) -> None:
    """A technician whose socket breaks is heard from as of his last frame, so that his whole lease is before him; a
    customer has none.
    """
    async with node_of(msgspec.structs.replace(settings, ping_s=2.0)) as node:
        redis, name = node.engine.store.redis, keys.last_seen(DEFAULT_ZONE)
        await redis.zadd(name, {TechnicianId("tom"): 1, "ann": 1})
        async with node.client("tom", "technician") as tom, node.client("ann") as ann:
            tom.socket.transport.abort()
            ann.socket.transport.abort()
            await wait_until(lambda: not node.gateway.sessions)
        assert await redis.zscore(name, "tom") == 1

        async def renewed() -> bool:
            return (await redis.zscore(name, "tom") or 0) > 1

        await wait_until(renewed, what="his last frame told")
        assert await redis.zscore(name, "ann") == 1


async def test_gone_clients_leave_nothing(node: Node) -> None:
    """A socket that ends, politely or not, is in no channel and no slot any more."""
    async with node.client("ann") as polite, node.client("bob") as rude:
        await polite.socket.close(1000)
        rude.socket.transport.abort()
        await wait_until(lambda: not node.gateway.sessions)
        assert not node.gateway.hub.channels
        assert node.gateway.counters.closes == {1000: 1, 1006: 1}
        with pytest.raises(ConnectionClosed):
            await rude.socket.recv()


async def test_an_event_that_does_not_fit_its_blueprint(node: Node) -> None:
    """An event without the members that its blueprint asks for still comes, under the engine's name."""
    async with node.client("ann") as client:
        seq = await node.append("user:ann", kind="offer.closed", data='{"job":7,"reason":"taken"}')
        push = await client.push()
        assert (push["seq"], push["type"], push["data"]["job"]) == (seq, "offer.closed", 7)
