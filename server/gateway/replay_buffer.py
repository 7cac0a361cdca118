"""The last minutes of a zone's log, bounded in bytes and age, indexed by channel.

A client that reconnects needs the few events that were addressed to it. To scan all events costs 11.6 ms a client at
60,000 entries, which is two minutes of a core when a gateway's 10,000 clients reconnect at once. So events are stored
in chunks of ``CHUNK_EVENTS``, and each chunk has an index of the channels that occur in it. A lookup skips a chunk
without the client's channels in 1 µs, and scans any other chunk in 15 µs.

The index is one dict a chunk. It is built in one step when the chunk is full, and it contains nothing that the garbage
collector would have to visit. It must be cheap to build, because every gateway indexes every event, and few events are
ever looked up. (Rejected: to store each event's predecessor in each of its channels, as a linked list. A lookup then
visits the client's own events only, 15 µs and not 0.1 ms over 5,000 events. But to add an event of eleven channels then
costs 2.5 µs, and a gateway has 7 µs an event for all its work.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from itertools import chain, compress, count, islice
from operator import attrgetter, not_
from typing import Any

from engine.events import Event
from engine.types import Zone

CHUNK_EVENTS = 64
"""The number of events in a chunk. A chunk is scanned as a whole if it has a wanted channel, and is removed as a whole.
"""

_EVENT_OVERHEAD_BYTES, _CHANNEL_OVERHEAD_BYTES = 600, 130
"""The memory of an event without its data, and of each of its channels, measured and rounded up. The data is counted
three times: a replay adds a copy for each encoder, and most gateways use two encoders at most. Where clients resume
over all three (JSON, MessagePack, HTTP), the fourth copy is not counted.
"""
_event_channels = attrgetter("to")


class Chunk:
    """A list of consecutive events: ``CHUNK_EVENTS`` of them, or fewer in the last chunk."""

    __slots__ = ("_channels", "encoded", "events", "first_seq", "size")

    def __init__(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self.events: list[Event] = []
        self.encoded: dict[Any, dict[int, bytes]] = {}
        """Frames of events that were already replayed, by encoder and by the event's index in this chunk."""
        self.size = 0
        self._channels: dict[str, None] | None = None
        """All channels of the events, None until the chunk is full."""

    def build_index(self) -> None:
        """Build the index of channels. Call this when no event will follow in this chunk."""
        self._channels = dict.fromkeys(chain.from_iterable(map(_event_channels, self.events)))

    def find_indices(self, floor: int, channels: frozenset[str]) -> list[int]:
        """Return the indices, from ``floor`` on, of the events to any of ``channels``, in ascending order."""
        if self._channels is not None and self._channels.keys().isdisjoint(channels):
            return []
        disjoint = map(channels.isdisjoint, map(_event_channels, islice(self.events, floor, None)))
        return list(compress(count(floor), map(not_, disjoint)))


class ReplayBuffer:
    """The replay buffer of one zone. Events are added in seq order without a gap. After ``clear`` the next event may
    have any seq.
    """

    def __init__(self, zone: Zone, max_bytes: int, max_age_s: float) -> None:
        self.zone_channel = f"zone:{zone}"
        """The zone's channel. Every event of the zone belongs to it, without naming it."""
        self._max_bytes = max_bytes
        self._max_age_ms = int(max_age_s * 1000)
        self._chunks: deque[Chunk] = deque()
        self._bytes = 0

    @property
    def first_seq(self) -> int | None:
        """Return the lowest seq in the buffer, None if the buffer is empty."""
        return self._chunks[0].first_seq if self._chunks else None

    def event(self, seq: int) -> Event | None:
        """Return the event with this ``seq``, None if the buffer does not have it."""
        for chunk in self._chunks_after(seq - 1):
            if 0 <= seq - chunk.first_seq < len(chunk.events):
                return chunk.events[seq - chunk.first_seq]
        return None

    def clear(self) -> None:
        """Remove all events from the buffer."""
        self._chunks.clear()
        self._bytes = 0

    def add(self, event: Event) -> None:
        """Add the event whose seq follows the last event's, and remove events beyond the limits of bytes and age."""
        chunks = self._chunks
        if not chunks or len(chunks[-1].events) == CHUNK_EVENTS:
            if chunks:
                chunks[-1].build_index()
            chunks.append(Chunk(event.seq))
            self._remove_older(event.at - self._max_age_ms)
        last = chunks[-1]
        size = _EVENT_OVERHEAD_BYTES + 3 * len(event.data) + _CHANNEL_OVERHEAD_BYTES * len(event.to)
        last.events.append(event)
        last.size += size
        self._bytes += size
        while self._bytes > self._max_bytes and len(chunks) > 1:
            self._remove_first()

    def find_events(self, after: int, channels: Collection[str], limit: int) -> list[tuple[Chunk, int]]:
        """Return the events above seq ``after`` to any of ``channels``, in log order, each as its chunk and its index
        in that chunk.

        If there are more than ``limit``, return more than ``limit`` but not necessarily all: the caller then replays
        none.
        """
        found: list[tuple[Chunk, int]] = []
        wanted = frozenset(channels)
        for chunk in self._chunks_after(after):
            floor = max(0, after + 1 - chunk.first_seq)
            if self.zone_channel in wanted:
                indices: Iterable[int] = range(floor, len(chunk.events))
            else:
                indices = chunk.find_indices(floor, wanted)
            found += [(chunk, index) for index in islice(indices, limit + 1)]
            if len(found) > limit:
                break
        return found

    def _chunks_after(self, after: int) -> Iterable[Chunk]:
        """Return the chunks with events above seq ``after``. All chunks but the last are full, so the first of these
        chunks is computed without a search.
        """
        chunks = self._chunks
        passed = max(0, after + 1 - chunks[0].first_seq) // CHUNK_EVENTS if chunks else 0
        return islice(chunks, passed, None)

    def _remove_older(self, than_ms: int) -> None:
        while len(self._chunks) > 1 and self._chunks[0].events[-1].at < than_ms:
            self._remove_first()

    def _remove_first(self) -> None:
        self._bytes -= self._chunks.popleft().size
