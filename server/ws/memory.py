"""The last minutes of a zone's log, bounded in bytes and age, indexed by channel.

A client that comes back wants the few events that were addressed to it among the many that were not.
Scanning the window costs 11.6 ms a client at 60,000 entries, which is two minutes of a core when a
gateway's 10,000 clients come back at once. So each event knows, for each of its channels, which was the
one before it: following that chain from the channel's latest costs the client's own events only.

The chain is a tuple of numbers beside the event, not a list per channel: two C calls an event whatever
the number of channels, and nothing that the garbage collector would have to visit. It is cut into
segments, and forgetting drops a whole one: no index is ever searched for what to remove.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

from engine.events import Event
from engine.types import Zone

SEGMENTS = 64
"""A segment is this part of the bound in bytes or age: what is forgotten at once, and the price of a
lookup.
"""

_EVENT_BYTES, _CHANNEL_BYTES = 560, 130
"""What an event costs beside its data (held thrice: once more as a frame of each subprotocol, if so replayed):
measured, rounded up.
"""


class Segment:
    """A run of consecutive events and, per event, where the one before it in each of its channels is."""

    __slots__ = ("before", "events", "first", "frames", "latest", "size")

    def __init__(self, first: int) -> None:
        self.first = first
        self.events: list[Event] = []
        self.before: list[tuple[int | None, ...]] = []
        self.latest: dict[str, int] = {}
        self.frames: dict[str, dict[int, bytes]] = {}
        """Those replayed already, by subprotocol and place."""
        self.size = 0

    def add(self, event: Event) -> None:
        """Append the event that follows."""
        place = len(self.events)
        latest = self.latest
        self.before.append(tuple(map(latest.get, event.to)))
        latest.update(dict.fromkeys(event.to, place))
        self.events.append(event)
        self.size += _EVENT_BYTES + 3 * len(event.data) + _CHANNEL_BYTES * len(event.to)

    def places(self, after: int, channels: Collection[str], limit: int) -> list[int]:
        """Where the events above seq ``after`` to any of ``channels`` are, in order; more than ``limit``
        is cut.
        """
        floor = max(0, after + 1 - self.first)
        found: set[int] = set()
        for channel in channels:
            place = self.latest.get(channel)
            while place is not None and place >= floor and len(found) <= limit:
                found.add(place)
                place = self.before[place][self.events[place].to.index(channel)]
        return sorted(found)


class Memory:
    """One zone's. Events are added in seq order without a hole; ``clear`` begins a new run anywhere."""

    def __init__(self, zone: Zone, max_bytes: int, max_age_s: float) -> None:
        self.whole = f"zone:{zone}"
        """The channel that every event of the zone is on, implied."""
        self._segment_bytes = max_bytes // SEGMENTS
        self._max_bytes = max_bytes - self._segment_bytes
        self._max_age_ms = int(max_age_s * 1000)
        self._segments: deque[Segment] = deque()
        self._sealed_bytes = 0

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
        self._sealed_bytes = 0

    def add(self, event: Event) -> None:
        """Keep the event that follows the last one."""
        segments = self._segments
        if not segments or self._is_full(segments[-1], event):
            if segments:
                self._sealed_bytes += segments[-1].size
            segments.append(Segment(event.seq))
            self._forget(event.at)
        segments[-1].add(event)

    def find(self, after: int, channels: Collection[str], limit: int) -> list[tuple[Segment, int]]:
        """Events above ``after`` to any of ``channels``, in log order, as places in segments (see
        ``Segment``).

        Gives more than ``limit`` where there are more, though not necessarily all: the caller gives up then.
        """
        found: list[tuple[Segment, int]] = []
        for segment in self._since(after):
            if self.whole in channels:
                places: Collection[int] = range(max(0, after + 1 - segment.first), len(segment.events))
            else:
                places = segment.places(after, channels, limit)
            found += [(segment, place) for place in places]
            if len(found) > limit:
                break
        return found

    def _since(self, after: int) -> Iterator[Segment]:
        newest: list[Segment] = []
        for segment in reversed(self._segments):
            newest.append(segment)
            if segment.first <= after + 1:
                break
        return reversed(newest)

    def _is_full(self, segment: Segment, event: Event) -> bool:
        return segment.size >= self._segment_bytes or (event.at - segment.events[0].at) * SEGMENTS > self._max_age_ms

    def _forget(self, now_ms: int) -> None:
        segments = self._segments
        while len(segments) > 1 and (
            self._sealed_bytes > self._max_bytes or segments[0].events[-1].at < now_ms - self._max_age_ms
        ):
            self._sealed_bytes -= segments.popleft().size
