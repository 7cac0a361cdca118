"""Clients that do not read fast enough: each uses a bounded amount of memory and does not slow down the other
clients.
"""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from engine.process.settings import Settings
from server.gateway import send_buffer
from tests.server.gateway.conftest import JSON_SUBPROTOCOL, Client, Node, running_node
from tests.support.wait import wait_until
from tests.test_bench import run_quick

BIG_DATA = '{"text":"' + "x" * 4_000 + '"}'


def small_receive_socket(node: Node) -> socket.socket:
    """Open a TCP connection with a receive buffer of 4 KiB, so that the server soon cannot write."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", node.port))
    sock.setblocking(False)
    return sock


async def stop_reading(client: Client) -> None:
    """Stop reading from the socket of ``client``."""
    client.socket.transport.pause_reading()


async def test_a_client_that_never_reads_is_closed(node: Node) -> None:
    """A client that never reads is closed with 4001 when 1 MiB waits for it. Another client receives everything in the
    meantime.
    """
    async with node.open_socket(sock=small_receive_socket(node), max_queue=None) as slow, node.connect("ann") as quick:
        await slow.request(op="connect", token=await node.token("ann"))
        await stop_reading(slow)
        (session,) = [s for s in node.gateway.sessions if s.id != quick.hello["session"]]
        reading = asyncio.create_task(quick.next_seqs(600))
        peak_bytes = 0
        for _ in range(60):
            await node.append("user:ann", times=10, data=BIG_DATA)
            transport = session._connection.transport
            peak_bytes = max(peak_bytes, session._backlog_bytes + transport.get_write_buffer_size())
        last = (await reading)[-1]
        await wait_until(lambda: node.gateway.counters.closes_by_code[4001] == 1)
        assert last == 600
        assert peak_bytes < send_buffer.MAX_QUEUE_BYTES + 200_000
        assert session not in node.gateway.sessions
        assert session._backlog is None


async def test_a_broadcast_with_clients_that_never_read() -> None:
    """During a broadcast, clients that never read are closed with 4001, and all others receive every event once and in
    order. (A small run of ``bench/questions/slow.py``; ``python -m bench slow`` is the full one.)
    """
    size = ("--sockets", "120", "--stalled", "5", "--rate", "30", "--size", "20000", "--seconds", "3")
    figures = await run_quick("slow", *size)
    assert figures["closed as too slow (4001)"] == 5
    assert figures["deliveries"] == 115 * 90
    for figure in ("readers: events lost", "readers: events twice", "readers closed"):
        assert figures[figure] == 0, figure


async def test_a_client_that_reads_again_receives_everything(node: Node) -> None:
    """A client that stops reading for a while receives everything in order afterwards. Replies to its commands arrive
    before the waiting events.
    """
    async with node.open_socket(sock=small_receive_socket(node)) as client:
        await client.request(op="connect", token=await node.token("ann"))
        await stop_reading(client)
        await node.wait_until_relayed(await node.append("user:ann", times=200, data=BIG_DATA))
        await client.send({"id": 77, "op": "unsubscribe", "channel": "job:x"})
        (session,) = node.gateway.sessions
        await wait_until(lambda: session.has_unsent and session.replies)
        client.socket.transport.resume_reading()
        seqs: list[int] = []
        replied_at = 200
        while len(seqs) < 200:
            message = await client.receive()
            if "seq" in message:
                seqs.append(message["seq"])
            else:
                replied_at = len(seqs)
        assert seqs == list(range(1, 201))
        assert replied_at < 190
        assert node.gateway.counters.closes_by_code == {}


async def test_a_frame_that_waits_too_long_closes_the_client(
    node: Node, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """A client is closed with 4001 if a frame waits longer than ``MAX_QUEUE_AGE_S``, even if few bytes wait."""
    monkeypatch.setattr(send_buffer, "MAX_QUEUE_AGE_S", 0.3)
    async with (
        running_node(msgspec.structs.replace(settings, ping_s=2.5)) as other,
        other.open_socket(sock=small_receive_socket(other)) as client,
    ):
        await client.request(op="connect", token=await other.token("bob"))
        await stop_reading(client)
        await other.append("user:bob", times=100, data=BIG_DATA)
        await wait_until(lambda: other.gateway.counters.closes_by_code[4001] == 1)


async def test_a_missed_pong_with_unsent_frames_is_too_slow(settings: Settings) -> None:
    """A client that misses a pong while frames are unsent is closed as too slow (4001), not as lost (4002)."""
    async with (
        running_node(msgspec.structs.replace(settings, ping_s=0.5, pong_s=0.2)) as node,
        node.open_socket(sock=small_receive_socket(node)) as client,
    ):
        await client.request(op="connect", token=await node.token("ann"))
        await stop_reading(client)
        await node.append("user:ann", times=60, data=BIG_DATA)
        await wait_until(lambda: sum(node.gateway.counters.closes_by_code.values()) == 1)
        assert node.gateway.counters.closes_by_code == {4001: 1}


async def test_many_pings_of_a_client_that_does_not_read(node: Node) -> None:
    """If a client sends many pings and does not read, only the last ping is answered, so that pongs do not
    accumulate.
    """
    async with node.open_socket(sock=small_receive_socket(node)) as client:
        await client.request(op="connect", token=await node.token("ann"))
        await stop_reading(client)
        await node.wait_until_relayed(await node.append("user:ann", times=60, data=BIG_DATA))
        (session,) = node.gateway.sessions
        before = session._connection.transport.get_write_buffer_size()
        for number in range(2_000):
            await client.socket.ping(b"%100d" % number)
        assert session._connection.transport.get_write_buffer_size() <= before + 200


async def test_more_commands_than_run_at_once(node: Node) -> None:
    """A burst of 300 commands is processed a few at a time, and each is answered."""
    async with node.connect("ann") as client:
        for number in range(300):
            await client.send({"id": number, "op": "unsubscribe", "channel": "job:x"})
        replies = [(await client.receive())["id"] for _ in range(300)]
        assert sorted(replies) == list(range(300))


async def test_messages_sent_before_the_connect_reply(node: Node) -> None:
    """Messages that a client sends after `connect` without waiting for its reply are processed after it."""
    token = await node.token("ann")
    async with node.open_socket(subprotocols=[JSON_SUBPROTOCOL]) as client:
        await client.send({"id": 1, "op": "connect", "token": token})
        await client.send({"id": 2, "op": "ping"})
        await client.send({"id": 3, "op": "unsubscribe", "channel": "job:x"})
        replies = [await client.receive() for _ in range(3)]
        assert replies[0]["id"] == 1
        assert {reply["id"] for reply in replies if "ok" in reply} == {1, 2, 3}
