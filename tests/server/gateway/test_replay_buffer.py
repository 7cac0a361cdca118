"""The replay buffer: it finds events by channel and in order, and drops whole chunks when it exceeds its limits."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from engine.events import Event
from engine.types import DEFAULT_ZONE
from server.gateway.replay_buffer import CHUNK_EVENTS, ReplayBuffer

CHANNELS = ("user:a", "user:b", "user:c", "role:x")
MIB_BYTES = 1024 * 1024


def log_event(seq: int, *channels: str, at_ms: int = 0, size: int = 2) -> Event:
    """Return an event as it is parsed from the log."""
    return Event(DEFAULT_ZONE, seq, "t", tuple(channels), at_ms, "engine", "", b"x" * size)


def read_seqs(memory: ReplayBuffer, after: int, *channels: str, limit: int = 1_000) -> list[int]:
    """Return the seqs of the events that the buffer finds."""
    return [segment.events[place].seq for segment, place in memory.find_events(after, channels, limit)]


def test_an_empty_buffer_finds_nothing() -> None:
    """An empty buffer finds no event and has no first seq."""
    memory = ReplayBuffer(DEFAULT_ZONE, MIB_BYTES, 60)
    assert memory.first_seq is None
    assert read_seqs(memory, 0, "user:a", memory.zone_channel) == []
    assert memory.event(1) is None


@given(
    st.lists(st.lists(st.sampled_from(CHANNELS), max_size=4), max_size=4 * CHUNK_EVENTS),
    st.integers(1, 5 * CHUNK_EVENTS),
    st.sets(st.sampled_from(CHANNELS)),
    st.integers(0, CHUNK_EVENTS),
)
def test_the_index_finds_the_same_events_as_a_scan(
    to: list[list[str]], after: int, wanted: set[str], others: int
) -> None:
    """For any channels and any cursor, the index finds the same events as a scan of all events, in order and once."""
    memory = ReplayBuffer(DEFAULT_ZONE, MIB_BYTES, 10**6)
    to = (
        to[:CHUNK_EVENTS] + [["user:other"]] * others + to[CHUNK_EVENTS:]
    )  # a chunk may have no event of the wanted channels
    events = [log_event(5 + n, *channels) for n, channels in enumerate(to)]
    for item in events:
        memory.add(item)
    expected = [e.seq for e in events if e.seq > after and wanted & set(e.to)]
    assert read_seqs(memory, after, *wanted) == expected
    assert read_seqs(memory, after, memory.zone_channel) == [e.seq for e in events if e.seq > after]
    for item in events:
        assert memory.event(item.seq) is item


def test_a_search_ends_beyond_its_limit() -> None:
    """A search ends soon after it has found more events than its limit."""
    memory = ReplayBuffer(DEFAULT_ZONE, 100 * MIB_BYTES, 60)
    for seq in range(1, 5_000):
        memory.add(log_event(seq, "user:a"))
    assert 10 < len(read_seqs(memory, 0, "user:a", limit=10)) < 20
    assert len(read_seqs(memory, 4_990, "user:a", limit=10)) == 9


def test_bounded_in_bytes() -> None:
    """The oldest events are dropped when the buffer exceeds its limit of bytes. The remaining events have no gap."""
    memory = ReplayBuffer(DEFAULT_ZONE, 4 * MIB_BYTES, 10**6)
    for seq in range(1, 3_000):
        memory.add(log_event(seq, "user:a", size=1_000))
    first = memory.first_seq or 0
    assert 1 < first < 2_999
    event_count = 2_999 - first + 1
    assert event_count * 2 * 1_000 < 4 * MIB_BYTES
    assert event_count * 4 * 1_000 > 4 * MIB_BYTES
    assert read_seqs(memory, 0, "user:a", limit=10_000) == list(range(first, 3_000))


def test_bounded_in_age() -> None:
    """Events older than the limit are dropped when a new event is added."""
    memory = ReplayBuffer(DEFAULT_ZONE, MIB_BYTES, 60)
    for seq in range(1, 201):
        memory.add(log_event(seq, "user:a", at_ms=seq * 1_000))
    first = memory.first_seq or 0
    assert 200 - 60 - CHUNK_EVENTS <= first <= 200 - 58
    assert read_seqs(memory, 0, "user:a") == list(range(first, 201))


def test_a_cleared_buffer_may_begin_at_any_seq() -> None:
    """After ``clear``, the next event may have any seq."""
    memory = ReplayBuffer(DEFAULT_ZONE, MIB_BYTES, 60)
    memory.add(log_event(1, "user:a"))
    memory.clear()
    memory.add(log_event(900, "user:b"))
    assert (memory.first_seq, read_seqs(memory, 0, "user:a", "user:b")) == (900, [900])


def test_invisible_to_the_garbage_collector() -> None:
    """The garbage collector does not track the objects that are stored for each event, so a large buffer does not make
    collections longer.
    """
    memory = ReplayBuffer(DEFAULT_ZONE, 100 * MIB_BYTES, 600)
    gc.collect()
    before = len(gc.get_objects())
    for seq in range(1, 10_001):
        memory.add(log_event(seq, "user:a", f"user:{seq}"))
    gc.collect()
    assert len(gc.get_objects()) - before < 1_000
