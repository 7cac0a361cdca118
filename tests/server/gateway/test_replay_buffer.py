"""What a gateway remembers: found by channel, in order, and forgotten in whole runs within its bounds."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from engine.events import Event
from engine.types import DEFAULT_ZONE
from server.gateway.replay_buffer import CHUNK_EVENTS, ReplayBuffer

CHANNELS = ("user:a", "user:b", "user:c", "role:x")
ROUND = 1024 * 1024


def event(seq: int, *to: str, at: int = 0, size: int = 2) -> Event:
    """An event as parsed from the log."""
    return Event(DEFAULT_ZONE, seq, "t", tuple(to), at, "engine", "", b"x" * size)


def seqs(memory: ReplayBuffer, after: int, *channels: str, limit: int = 1_000) -> list[int]:
    """What is found, as numbers."""
    return [segment.events[place].seq for segment, place in memory.find(after, channels, limit)]


def test_nothing_remembered() -> None:
    """An empty memory finds nothing and begins nowhere."""
    memory = ReplayBuffer(DEFAULT_ZONE, ROUND, 60)
    assert memory.first is None
    assert seqs(memory, 0, "user:a", memory.zone_channel) == []
    assert memory.event(1) is None


@given(
    st.lists(st.lists(st.sampled_from(CHANNELS), max_size=4), max_size=4 * CHUNK_EVENTS),
    st.integers(1, 5 * CHUNK_EVENTS),
    st.sets(st.sampled_from(CHANNELS)),
    st.integers(0, CHUNK_EVENTS),
)
def test_finds_what_a_scan_finds(to: list[list[str]], after: int, wanted: set[str], others: int) -> None:
    """Whatever is asked, the index gives what scanning all events would, in order and once."""
    memory = ReplayBuffer(DEFAULT_ZONE, ROUND, 10**6)
    to = (
        to[:CHUNK_EVENTS] + [["user:other"]] * others + to[CHUNK_EVENTS:]
    )  # so that some run may hold nothing that is wanted
    events = [event(5 + n, *channels) for n, channels in enumerate(to)]
    for item in events:
        memory.add(item)
    expected = [e.seq for e in events if e.seq > after and wanted & set(e.to)]
    assert seqs(memory, after, *wanted) == expected
    assert seqs(memory, after, memory.zone_channel) == [e.seq for e in events if e.seq > after]
    for item in events:
        assert memory.event(item.seq) is item


def test_gives_up_beyond_the_limit() -> None:
    """More than the limit is more than the limit: the search ends, whatever there is."""
    memory = ReplayBuffer(DEFAULT_ZONE, 100 * ROUND, 60)
    for seq in range(1, 5_000):
        memory.add(event(seq, "user:a"))
    assert 10 < len(seqs(memory, 0, "user:a", limit=10)) < 20
    assert len(seqs(memory, 4_990, "user:a", limit=10)) == 9


def test_bounded_in_bytes() -> None:
    """The oldest are forgotten when the bound is passed; what remains is without a hole."""
    memory = ReplayBuffer(DEFAULT_ZONE, 4 * ROUND, 10**6)
    for seq in range(1, 3_000):
        memory.add(event(seq, "user:a", size=1_000))
    first = memory.first or 0
    assert 1 < first < 2_999
    held = 2_999 - first + 1
    assert held * 2 * 1_000 < 4 * ROUND
    assert held * 4 * 1_000 > 4 * ROUND
    assert seqs(memory, 0, "user:a", limit=10_000) == list(range(first, 3_000))


def test_bounded_in_age() -> None:
    """What is older than the bound is forgotten when something new comes."""
    memory = ReplayBuffer(DEFAULT_ZONE, ROUND, 60)
    for seq in range(1, 201):
        memory.add(event(seq, "user:a", at=seq * 1_000))
    first = memory.first or 0
    assert 200 - 60 - CHUNK_EVENTS <= first <= 200 - 58
    assert seqs(memory, 0, "user:a") == list(range(first, 201))


def test_cleared() -> None:
    """After clear a new run may begin anywhere."""
    memory = ReplayBuffer(DEFAULT_ZONE, ROUND, 60)
    memory.add(event(1, "user:a"))
    memory.clear()
    memory.add(event(900, "user:b"))
    assert (memory.first, seqs(memory, 0, "user:a", "user:b")) == (900, [900])


def test_invisible_to_the_garbage_collector() -> None:
    """A long memory must not lengthen collections: what it keeps for each event is not tracked."""
    memory = ReplayBuffer(DEFAULT_ZONE, 100 * ROUND, 600)
    gc.collect()
    before = len(gc.get_objects())
    for seq in range(1, 10_001):
        memory.add(event(seq, "user:a", f"user:{seq}"))
    gc.collect()
    assert len(gc.get_objects()) - before < 1_000
