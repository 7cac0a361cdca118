"""Reading the log a piece at a time, the next one on its way while the last is handed on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.types import DEFAULT_ZONE
from server.gateway import relay
from server.gateway.relay import MAX_READ_EVENTS, StreamReader
from tests.server.gateway.conftest import Node


@pytest.fixture
async def reading(node: Node) -> AsyncIterator[StreamReader]:
    client = await node.engine.store.open_stream_connection()
    reading = StreamReader(client)
    yield reading
    reading.stop()
    await client.aclose()


async def test_what_was_read_ahead_counts_only_where_it_begins(node: Node, reading: StreamReader) -> None:
    """Asked for another place than the one it had gone on from, it reads there, and forgets what it had."""
    await node.append("user:ann", times=2 * MAX_READ_EVENTS + 5)
    first = await reading.read_next({DEFAULT_ZONE: 0})
    await reading.request_next(first)
    elsewhere = await reading.read_next({DEFAULT_ZONE: 3})
    assert [event.seq for event in elsewhere[:2]] == [4, 5]


async def test_a_failure_ahead_comes_with_the_next_piece(
    node: Node, reading: StreamReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong while the last piece is handed on is told to who asks for the next one, not to nobody."""
    await node.append("user:ann", times=MAX_READ_EVENTS)
    first = await reading.read_next({DEFAULT_ZONE: 0})

    async def fails(*_: object) -> list[object]:
        raise ConnectionError("gone")

    monkeypatch.setattr(relay.log, "wait_for_events", fails)
    await reading.request_next(first)
    with pytest.raises(ConnectionError):
        await reading.read_next({DEFAULT_ZONE: MAX_READ_EVENTS})


async def test_pieces_follow_each_other(node: Node, reading: StreamReader) -> None:
    """Read ahead or not, every event comes once and in order."""
    last = await node.append("user:ann", times=2 * MAX_READ_EVENTS + 5)
    seqs: list[int] = []
    while not seqs or seqs[-1] < last:
        events = await reading.read_next({DEFAULT_ZONE: seqs[-1] if seqs else 0})
        if len(seqs) < MAX_READ_EVENTS:
            await reading.request_next(events)
        seqs += [event.seq for event in events]
    assert seqs == list(range(1, last + 1))


async def test_a_gateway_that_is_far_behind_catches_up(node: Node) -> None:
    """Many pieces at once reach a session whole and in order, and nobody is told to resynchronise."""
    async with node.client("ann") as client:
        await node.append("user:bob", times=3 * MAX_READ_EVENTS)
        await node.append("user:ann", times=20)
        await node.append("user:bob", times=3 * MAX_READ_EVENTS)
        last = await node.append("user:ann")
        assert await client.seqs(21) == [*range(3 * MAX_READ_EVENTS + 1, 3 * MAX_READ_EVENTS + 21), last]
    assert node.gateway.counters.resyncs == {}
