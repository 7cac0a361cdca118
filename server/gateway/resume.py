"""Resume a client: find the events after its cursor, or the reason why they are not available.

Three places hold the events. Each reaches further back than the one before, and costs more: the gateway's replay buffer
(indexed by channel), the log in Redis (scanned), and SQL (indexed, up to the archiver's checkpoint). The old part
is fetched with awaits. The last part is taken from the buffer in the same turn of the event loop in which the session
joins the hub, so that no event is lost or sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from time import monotonic
from typing import Literal, Protocol

import structlog

from engine.archive import reader
from engine.errors import CalloutError
from engine.events import Event
from engine.runtime import Engine
from engine.types import Cursor, number_of
from engine.zone import log
from server.gateway.frames import INTERNAL
from server.gateway.replay_buffer import Chunk
from server.gateway.zone_stream import NEVER, WAIT_S, ZoneStream

MAX_EVENTS = 1_000
MAX_BYTES = 512 * 1024
PAGE = 1_000
SCAN = 10_000
"""The most log entries that a gateway scans for one client. If there are more, it reads from SQL first."""

Reason = Literal["too_old", "epoch"]

logger = structlog.get_logger(__name__)


class Encoder(Protocol):
    """An encoder of events for a replay: as the frames of a subprotocol, or as payloads (server/gateway/frames.py)."""

    def encode(self, event: Event) -> bytes:
        """Return the bytes to replay."""


class Resume:
    """The replay of one zone for one session that is joining. Call ``judge``, then ``reach``, then ``finish`` in the
    turn of the loop in which the session joins.
    """

    def __init__(
        self,
        tail: ZoneStream,
        cursor: Cursor | None,
        channels: Collection[str],
        wants: Callable[[str], bool] | None = None,
        floors: Mapping[str, int] | None = None,
    ) -> None:
        self.tail = tail
        self.frames: list[bytes] = []
        self.seqs: list[int] = []
        """The seq of each frame."""
        self.named = cursor is not None
        self.reason: Reason | None = None
        self.allows: Callable[[Event], bool] | None = None
        """Return whether an event on the session's channels may be sent. None: all may be sent."""
        self._cursor = cursor or tail.head
        self._own = channels
        self._floors = dict(floors or {})
        """Channels that the session receives from a certain seq on, and that seq."""
        self._wants = wants
        self._position = self._cursor.seq
        self._bytes = 0

    @property
    def outcome(self) -> str:
        """Return ``recovered``, or the reason why the cursor cannot be used, or ``fresh`` if the client gave no
        cursor.
        """
        return self.reason or ("recovered" if self.named else "fresh")

    @property
    def begins(self) -> int:
        """Return the client's seq before the replay: its cursor's, or the head's if the cursor cannot be used."""
        return self._cursor.seq if self.outcome == "recovered" else self.tail.cursor

    @property
    def ready(self) -> bool:
        """Return whether the replay buffer holds everything that is still to be replayed, or nothing will be
        replayed.
        """
        return self.reason is not None or not self.named or self._position >= self._remembered - 1

    @property
    def _remembered(self) -> int:
        """Return the lowest seq in the replay buffer, or the next event's seq if the buffer is empty."""
        return self.tail.memory.first or self.tail.cursor + 1

    async def judge(self) -> None:
        """Decide whether the cursor can be used, and set ``reason`` if not. If the relay may still reach the cursor,
        wait up to ``WAIT_S`` for that. Waiting delays no other client, so it does not count in ``COLD_READS``: after a
        rollback all clients connect with such a cursor at once.
        """
        end = monotonic() + WAIT_S
        while self.named and not self._joins():
            left = end - monotonic()
            if left <= 0 or not self._may_join():
                self.reason = "epoch"
                return
            is_news = self._cursor.epoch not in self.tail.epochs
            await self.tail.changed(NEVER if is_news else self._cursor.seq, left)

    async def reach(self, engine: Engine, encoder: Encoder) -> None:
        """Fetch the events that the replay buffer does not hold."""
        while not self.ready:
            await self._fetch(engine, encoder)

    def finish(self, encoder: Encoder, floors: Mapping[str, int] | None = None) -> list[bytes]:
        """Return the encoded events to replay, in order, up to the relay's head; none if ``reason`` is set. ``floors``
        are the present floors, which replace the ones given at the start.
        """
        self._floors = dict(floors or {})
        if self.reason is None and self.named and not self._joins():
            self.reason = "epoch"
        if self.reason is None and self.named:
            for segment, place in self._from_memory():
                event, known = segment.events[place], segment.encoded.setdefault(encoder, {})
                frame = known.get(place)
                if frame is None:
                    frame = known[place] = encoder.encode(event)
                self._keep(event, frame)
        return self.frames if self.reason is None else []

    def _from_memory(self) -> list[tuple[Chunk, int]]:
        """Return the events in the replay buffer for this session, in log order, each as its chunk and its index there.
        If there are more than ``MAX_EVENTS``, return more than that.
        """
        memory, limit = self.tail.memory, MAX_EVENTS - len(self.frames)
        found = memory.find(self._position, self._own, limit)
        if memory.whole in self._own or not self._floors:
            return found
        since: dict[int, list[str]] = {}
        for channel, floor in self._floors.items():
            since.setdefault(max(floor, self._position), []).append(channel)
        for after, channels in since.items():
            found += memory.find(after, channels, limit)
        return sorted(found, key=lambda place: place[0].first + place[1])

    def _joins(self) -> bool:
        """Return whether the cursor is in the history of the present head, and not beyond the head."""
        return self._cursor.seq <= self.tail.cursor and self._in_history()

    def _may_join(self) -> bool:
        """Return whether the cursor may be usable later: the relay may not have read its epoch or its event yet."""
        return number_of(self._cursor.epoch) > number_of(self.tail.epoch) or self._in_history()

    def _in_history(self) -> bool:
        tail, cursor = self.tail, self._cursor
        if cursor.epoch not in tail.epochs:
            return False
        number = number_of(cursor.epoch)
        later = [first for epoch, first in tail.epochs.items() if number_of(epoch) > number]
        return cursor.epoch == tail.epoch or cursor.seq < min(later, default=0)

    # events that the replay buffer does not hold

    async def _fetch(self, engine: Engine, encoder: Encoder) -> None:
        """Fetch the next part from the cheaper of the two places that hold it. Set ``too_old`` if neither holds it."""
        until = self._remembered - 1
        if until - self._position > SCAN and await self._from_archive(engine, encoder, until):
            return
        page = await log.window(engine.store.reads, self.tail.zone, self._position, PAGE, until)
        if page and page[0].seq == self._position + 1:
            self._take(self._wanted(page), encoder, page[-1].seq)
        elif not await self._from_archive(engine, encoder, page[0].seq - 1 if page else until):
            self.reason = "too_old"

    async def _from_archive(self, engine: Engine, encoder: Encoder, until: int) -> bool:
        """Add the events in SQL up to ``until``. Return False if SQL has not the events after the cursor, or is
        unavailable.
        """
        zone = self.tail.zone
        try:
            first = await reader.first_seq(engine.archive, zone)
            checkpoint = await reader.checkpoint(engine.archive, zone)
            if first is None or checkpoint is None or first > self._position + 1:
                return False
            until = min(until, checkpoint.seq)
            if until <= self._position:
                return False
            heard = dict.fromkeys(self._own, 0) | self._floors
            events = await reader.events(engine.archive, zone, self._position, until, heard, MAX_EVENTS + 1)
        except CalloutError as error:
            logger.warning("resume_without_archive", zone=zone, error=str(error))
            return False
        self._take(events, encoder, until)
        return True

    def _wanted(self, page: Iterable[Event]) -> list[Event]:
        if self.tail.memory.whole in self._own:
            return list(page)
        return [event for event in page if self._is_theirs(event)]

    def _is_theirs(self, event: Event) -> bool:
        floors = self._floors
        return any(name in self._own or (name in floors and event.seq > floors[name]) for name in event.to)

    def _take(self, events: Iterable[Event], encoder: Encoder, position: int) -> None:
        for event in events:
            self._keep(event, encoder.encode(event))
            if self.reason:
                return
        self._position = position

    def _keep(self, event: Event, frame: bytes) -> None:
        if event.type.startswith(INTERNAL) or self.reason:
            return
        if self._wants is not None and not self._wants(event.type):
            return
        if self.allows is not None and not self.allows(event):
            return
        self.frames.append(frame)
        self.seqs.append(event.seq)
        self._bytes += len(frame)
        if len(self.frames) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self.reason = "too_old"
            self.frames = []
