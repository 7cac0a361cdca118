"""The relay reads the log page by page, and reads the next page while the last one is delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.types import DEFAULT_ZONE
from engine.zone import log
from server.gateway.stream_reader import MAX_READ_EVENTS, StreamReader
from tests.server.gateway.conftest import Node


@pytest.fixture
async def reader(node: Node) -> AsyncIterator[StreamReader]:
    """Open a reader of the log with its own connection."""
    client = await node.engine.store.open_stream_connection(DEFAULT_ZONE)
    reader = StreamReader(node.engine.store, client)
    yield reader
    reader.stop()
    await client.aclose()


async def test_entries_read_ahead_are_dropped_for_another_position(node: Node, reader: StreamReader) -> None:
    """If the next read starts at another position, the entries that were read ahead are dropped."""
    await node.append("user:ann", times=2 * MAX_READ_EVENTS + 5)
    first = await reader.read_next({DEFAULT_ZONE: 0})
    await reader.request_next(first)
    elsewhere = await reader.read_next({DEFAULT_ZONE: 3})
    assert [event.seq for event in elsewhere[:2]] == [4, 5]


async def test_a_failure_of_reading_ahead_is_raised_by_the_next_read(
    node: Node, reader: StreamReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while reading ahead is raised by the next call of ``read_next``."""
    await node.append("user:ann", times=MAX_READ_EVENTS)
    first = await reader.read_next({DEFAULT_ZONE: 0})

    async def fail(*_: object) -> list[object]:
        raise ConnectionError("gone")

    monkeypatch.setattr(log, "wait_for_events", fail)
    await reader.request_next(first)
    with pytest.raises(ConnectionError):
        await reader.read_next({DEFAULT_ZONE: MAX_READ_EVENTS})


async def test_pages_follow_each_other(node: Node, reader: StreamReader) -> None:
    """Every event is returned once and in order, whether its page of the log was read in advance or only on demand."""
    last = await node.append("user:ann", times=2 * MAX_READ_EVENTS + 5)
    seqs: list[int] = []
    while not seqs or seqs[-1] < last:
        events = await reader.read_next({DEFAULT_ZONE: seqs[-1] if seqs else 0})
        if len(seqs) < MAX_READ_EVENTS:
            await reader.request_next(events)
        seqs += [event.seq for event in events]
    assert seqs == list(range(1, last + 1))


async def test_a_gateway_that_is_far_behind_catches_up(node: Node) -> None:
    """Many pages of events reach a session completely and in order, and no session has to resynchronise."""
    async with node.connect("ann") as client:
        await node.append("user:bob", times=3 * MAX_READ_EVENTS)
        await node.append("user:ann", times=20)
        await node.append("user:bob", times=3 * MAX_READ_EVENTS)
        last = await node.append("user:ann")
        assert await client.next_seqs(21) == [*range(3 * MAX_READ_EVENTS + 1, 3 * MAX_READ_EVENTS + 21), last]
    assert node.gateway.counters.resyncs_by_reason == {}
