"""Clients that do not keep up: a bounded amount of memory each, and everybody else as fast as ever."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from engine.process.settings import Settings
from server.gateway import send_buffer
from tests.server.gateway.conftest import JSON, Client, Node, node_of
from tests.support.wait import wait_until
from tests.test_bench import found

BIG = '{"text":"' + "x" * 4_000 + '"}'


def narrow(node: Node) -> socket.socket:
    """A connection that takes in little before TCP holds the server up."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", node.port))
    sock.setblocking(False)
    return sock


async def deaf_client(client: Client) -> None:
    """Read nothing any more."""
    client.socket.transport.pause_reading()


async def test_never_reads(node: Node) -> None:
    """Who never reads is closed with 4001 at one MiB behind; meanwhile the others get everything."""
    async with node.raw(sock=narrow(node), max_queue=None) as slow, node.client("ann") as quick:
        await slow.ask(op="connect", token=await node.token("ann"))
        await deaf_client(slow)
        (session,) = [s for s in node.gateway.sessions if s.id != quick.hello["session"]]
        got = asyncio.create_task(quick.seqs(600))
        most = 0
        for _ in range(60):
            await node.append("user:ann", times=10, data=BIG)
            transport = session._connection.transport
            most = max(most, session._behind_bytes + transport.get_write_buffer_size())
        last = (await got)[-1]
        await wait_until(lambda: node.gateway.counters.closes[4001] == 1)
        assert last == 600
        assert most < send_buffer.MAX_QUEUE_BYTES + 200_000
        assert session not in node.gateway.sessions
        assert session._behind is None


async def test_some_of_many_never_read() -> None:
    """Each who never reads is closed with 4001 while a broadcast goes on; the others have every event, once, in order.
    (``bench/questions/slow.py`` with few people; ``python -m bench slow`` is its full size.)
    """
    size = ("--sockets", "60", "--deaf", "5", "--rate", "60", "--size", "20000", "--seconds", "3")
    figures = await asyncio.to_thread(found, "slow", *size)
    assert figures["closed as too slow (4001)"] == 5
    assert figures["deliveries"] == 55 * 180
    for nothing in ("readers: events lost", "readers: events twice", "readers closed"):
        assert figures[nothing] == 0, nothing


async def test_reads_again(node: Node) -> None:
    """Who was held up for a while gets everything in order, and his commands' replies before the backlog."""
    async with node.raw(sock=narrow(node)) as client:
        await client.ask(op="connect", token=await node.token("ann"))
        await deaf_client(client)
        await node.relayed(await node.append("user:ann", times=200, data=BIG))
        await client.send({"id": 77, "op": "unsubscribe", "channel": "job:x"})
        (session,) = node.gateway.sessions
        await wait_until(lambda: session.has_unsent and session.replies)
        client.socket.transport.resume_reading()
        seen: list[int] = []
        replied_at = 200
        while len(seen) < 200:
            message = await client.receive()
            if "seq" in message:
                seen.append(message["seq"])
            else:
                replied_at = len(seen)
        assert seen == list(range(1, 201))
        assert replied_at < 190
        assert node.gateway.counters.closes == {}


async def test_too_old(node: Node, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """A frame that has waited longer than the limit closes with 4001, however little is behind."""
    monkeypatch.setattr(send_buffer, "MAX_QUEUE_AGE_S", 0.3)
    async with node_of(msgspec.structs.replace(settings, ping_s=2.5)) as other, other.raw(sock=narrow(other)) as client:
        await client.ask(op="connect", token=await other.token("bob"))
        await deaf_client(client)
        await other.append("user:bob", times=100, data=BIG)
        await wait_until(lambda: other.gateway.counters.closes[4001] == 1)


async def test_no_pong_with_something_unsent_is_too_slow(settings: Settings) -> None:
    """A missed pong while anything is unsent counts as too slow, not as gone."""
    async with (
        node_of(msgspec.structs.replace(settings, ping_s=0.5, pong_s=0.2)) as node,
        node.raw(sock=narrow(node)) as client,
    ):
        await client.ask(op="connect", token=await node.token("ann"))
        await deaf_client(client)
        await node.append("user:ann", times=60, data=BIG)
        await wait_until(lambda: sum(node.gateway.counters.closes.values()) == 1)
        assert node.gateway.counters.closes == {4001: 1}


async def test_ping_flood_of_one_who_does_not_read(node: Node) -> None:
    """Pongs to one who does not read do not pile up: the last ping alone is answered."""
    async with node.raw(sock=narrow(node)) as client:
        await client.ask(op="connect", token=await node.token("ann"))
        await deaf_client(client)
        await node.relayed(await node.append("user:ann", times=60, data=BIG))
        (session,) = node.gateway.sessions
        before = session._connection.transport.get_write_buffer_size()
        for number in range(2_000):
            await client.socket.ping(b"%100d" % number)
        assert session._connection.transport.get_write_buffer_size() <= before + 200


async def test_more_commands_than_run_at_once(node: Node) -> None:
    """A burst of commands is worked off a few at a time; each is answered, none is thrown away."""
    async with node.client("ann") as client:
        for number in range(300):
            await client.send({"id": number, "op": "unsubscribe", "channel": "job:x"})
        replies = [(await client.receive())["id"] for _ in range(300)]
        assert sorted(replies) == list(range(300))


async def test_messages_before_the_hello_is_answered(node: Node) -> None:
    """What follows a connect without waiting for its answer is done after it."""
    token = await node.token("ann")
    async with node.raw(subprotocols=[JSON]) as client:
        await client.send({"id": 1, "op": "connect", "token": token})
        await client.send({"id": 2, "op": "ping"})
        await client.send({"id": 3, "op": "unsubscribe", "channel": "job:x"})
        replies = [await client.receive() for _ in range(3)]
        assert replies[0]["id"] == 1
        assert {reply["id"] for reply in replies if "ok" in reply} == {1, 2, 3}
