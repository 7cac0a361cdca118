"""The last minutes of a zone's log, bounded in bytes and age, indexed by channel.

A client that comes back wants the few events that were addressed to it among the many that were not.
Scanning the window costs 11.6 ms a client at 60,000 entries, which is two minutes of a core when a
gateway's 10,000 clients come back at once. So events are kept in runs of ``RUN``, and each run knows the channels
that occur in it: a lookup passes over the runs that do not concern it, 1 µs each, and scans the others, 15 µs each.

The index is one dict a run, made in one go when the run is full, and nothing in it that the garbage collector would
have to visit. It must be cheap to make, for every gateway indexes every event, and few are ever looked for. (Rejected:
each event's predecessor in each of its channels, a chain to follow. A lookup costs the client's own events only, 15 µs
and not 0.1 ms over 5,000 events; but to add an event of eleven channels 2.5 µs, and a gateway has 7 for it in all.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from itertools import chain, compress, count, islice
from operator import attrgetter, not_
from typing import Any

from engine.events import Event
from engine.types import Zone

RUN = 64
"""Events in a run: what is scanned where one of them was wanted, and forgotten at once."""

_EVENT_BYTES, _CHANNEL_BYTES = 600, 130
"""What an event costs beside its data, measured and rounded up. The data is counted three times: a replay adds a copy
for its encoder, and most gateways use two at most. Where clients resume over all three (JSON, MessagePack, HTTP), the
fourth copy is not counted.
"""
_channels = attrgetter("to")


class Chunk:
    """A run of consecutive events, ``RUN`` of them unless it is the last."""

    __slots__ = ("_channels", "encoded", "events", "first", "size")

    def __init__(self, first: int) -> None:
        self.first = first
        self.events: list[Event] = []
        self.encoded: dict[Any, dict[int, bytes]] = {}
        """Events that were replayed already, by encoder and place."""
        self.size = 0
        self._channels: dict[str, None] | None = None
        """All that occur, once the run is full."""

    def seal(self) -> None:
        """No event will follow: note which channels occur."""
        self._channels = dict.fromkeys(chain.from_iterable(map(_channels, self.events)))

    def places(self, floor: int, channels: frozenset[str]) -> list[int]:
        """Where, from ``floor`` on, the events to any of ``channels`` are, in order."""
        if self._channels is not None and self._channels.keys().isdisjoint(channels):
            return []
        apart = map(channels.isdisjoint, map(_channels, islice(self.events, floor, None)))
        return list(compress(count(floor), map(not_, apart)))


class ReplayBuffer:
    """One zone's. Events are added in seq order without a hole; ``clear`` begins a new run anywhere."""

    def __init__(self, zone: Zone, max_bytes: int, max_age_s: float) -> None:
        self.whole = f"zone:{zone}"
        """The channel that every event of the zone is on, implied."""
        self._max_bytes = max_bytes
        self._max_age_ms = int(max_age_s * 1000)
        self._segments: deque[Chunk] = deque()
        self._bytes = 0

    @property
    def first(self) -> int | None:
        """The lowest seq held, None where there is none."""
        return self._segments[0].first if self._segments else None

    def event(self, seq: int) -> Event | None:
        """The event numbered ``seq``, if it is remembered."""
        for segment in self._since(seq - 1):
            if 0 <= seq - segment.first < len(segment.events):
                return segment.events[seq - segment.first]
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._segments.clear()
        self._bytes = 0

    def add(self, event: Event) -> None:
        """Keep the event that follows the last one."""
        segments = self._segments
        if not segments or len(segments[-1].events) == RUN:
            if segments:
                segments[-1].seal()
            segments.append(Chunk(event.seq))
            self._forget_older(event.at - self._max_age_ms)
        last = segments[-1]
        size = _EVENT_BYTES + 3 * len(event.data) + _CHANNEL_BYTES * len(event.to)
        last.events.append(event)
        last.size += size
        self._bytes += size
        while self._bytes > self._max_bytes and len(segments) > 1:
            self._forget_first()

    def find(self, after: int, channels: Collection[str], limit: int) -> list[tuple[Chunk, int]]:
        """Events above ``after`` to any of ``channels``, in log order, as places in segments (see
        ``Chunk``).

        Gives more than ``limit`` where there are more, though not necessarily all: the caller gives up then.
        """
        found: list[tuple[Chunk, int]] = []
        wanted = frozenset(channels)
        for segment in self._since(after):
            floor = max(0, after + 1 - segment.first)
            if self.whole in wanted:
                places: Iterable[int] = range(floor, len(segment.events))
            else:
                places = segment.places(floor, wanted)
            found += [(segment, place) for place in islice(places, limit + 1)]
            if len(found) > limit:
                break
        return found

    def _since(self, after: int) -> Iterable[Chunk]:
        """The runs that hold what is above ``after``; all but the last are full, so that the first of them is known
        by arithmetic.
        """
        segments = self._segments
        passed = max(0, after + 1 - segments[0].first) // RUN if segments else 0
        return islice(segments, passed, None)

    def _forget_older(self, than_ms: int) -> None:
        while len(self._segments) > 1 and self._segments[0].events[-1].at < than_ms:
            self._forget_first()

    def _forget_first(self) -> None:
        self._bytes -= self._segments.popleft().size
