"""Resume a client: find the events after its cursor, or the reason why they are not available.

Three places hold the events. Each place reaches further back than the last and costs more: the gateway's replay buffer
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
from engine.types import Cursor, Principal, epoch_number
from engine.zone import log
from server.gateway.chat_events import ChatReplay, is_chat
from server.gateway.frames import INTERNAL_PREFIXES
from server.gateway.replay_buffer import Chunk
from server.gateway.zone_stream import MAX_WAIT_S, UNREACHABLE_SEQ, ZoneStream

MAX_REPLAY_EVENTS = 1_000
MAX_REPLAY_BYTES = 512 * 1024
EVENTS_PER_PAGE = 1_000
MAX_SCANNED_EVENTS = 10_000
"""The most log entries that a gateway scans for one client. If there are more, it reads from SQL first."""

ResyncReason = Literal["too_old", "epoch"]

logger = structlog.get_logger(__name__)


class Encoder(Protocol):
    """An encoder of events for a replay: as the frames of a subprotocol, or as payloads (server/gateway/frames.py)."""

    def encode_event(self, event: Event) -> bytes:
        """Return the bytes with which ``event`` is replayed to the client."""


class Resume:
    """The replay of one zone for one session that is joining. Call ``check_cursor``, then ``fetch_missed``, then
    ``collect_missed`` and ``missed_frames`` in the turn of the loop in which the session joins."""

    def __init__(
        self,
        tail: ZoneStream,
        cursor: Cursor | None,
        channels: Collection[str],
        accepts_type: Callable[[str], bool] | None = None,
        floors: Mapping[str, int] | None = None,
        *,
        caller: Principal,
    ) -> None:
        self.tail = tail
        self.frames: list[bytes] = []
        self.seqs: list[int] = []
        """The seq of each frame."""
        self.has_cursor = cursor is not None
        self.reason: ResyncReason | None = None
        self.may_replay: Callable[[Event], bool] | None = None
        """Return whether an event on the session's channels may be sent. None: all may be sent."""
        self.chat = ChatReplay(caller, follows_zone=tail.buffer.zone_channel in channels)
        self._cursor = cursor or tail.head
        self._channels = channels
        self._floors = dict(floors or {})
        """Channels that the session receives from a certain seq on, and that seq."""
        self._accepts_type = accepts_type
        self._position = self._cursor.seq
        self._bytes = 0

    @property
    def outcome(self) -> str:
        """Return ``recovered``, the reason why the cursor cannot be used, or ``fresh`` if the client sent no cursor."""
        return self.reason or ("recovered" if self.has_cursor else "fresh")

    @property
    def start_seq(self) -> int:
        """Return the client's seq before the replay: its cursor's, or the head's if the cursor cannot be used."""
        return self._cursor.seq if self.outcome == "recovered" else self.tail.cursor

    @property
    def is_ready(self) -> bool:
        """Return whether ``missed_frames`` can replay without ``fetch_missed``: all events that are still to be
        replayed are in the replay buffer, or none are to be replayed."""
        return self.reason is not None or not self.has_cursor or self._position >= self._buffer_start - 1

    @property
    def _buffer_start(self) -> int:
        """Return the lowest seq in the replay buffer, or the next event's seq if the buffer is empty."""
        return self.tail.buffer.first_seq or self.tail.cursor + 1

    async def check_cursor(self) -> None:
        """Decide whether the cursor can be used, and set ``reason`` if not. If the relay may still reach the cursor,
        wait up to ``MAX_WAIT_S`` for that. A client that waits here delays no other client, so it is not counted in
        ``MAX_REPLAY_READS``: after a rollback all clients connect with such a cursor at once.
        """
        end = monotonic() + MAX_WAIT_S
        while self.has_cursor and not self._is_cursor_valid():
            left = end - monotonic()
            if left <= 0 or not self._may_become_valid():
                self.reason = "epoch"
                return
            is_news = self._cursor.epoch not in self.tail.epochs
            await self.tail.wait_for_seq(UNREACHABLE_SEQ if is_news else self._cursor.seq, left)

    async def fetch_missed(self, engine: Engine, encoder: Encoder) -> None:
        """Read the events to replay that are not in the replay buffer, from the log or from SQL."""
        while not self.is_ready:
            await self._fetch_part(engine, encoder)

    @property
    def unread_rooms(self) -> set[str]:
        """Return the chat rooms for which the caller's memberships are to be read before the replay."""
        return self.chat.unread_rooms() if self.reason is None else set()

    def collect_missed(self, encoder: Encoder, channels: Collection[str], floors: Mapping[str, int] | None) -> None:
        """Add the events of the replay buffer up to the relay's head. ``channels`` and ``floors`` (of the `work:`
        channels) are the session's present ones."""
        self._channels, self._floors = channels, dict(floors or {})
        if self.reason is None and self.has_cursor and not self._is_cursor_valid():
            self.reason = "epoch"
        if self.reason is None and self.has_cursor:
            for chunk, index in self._find_in_buffer():
                event, known = chunk.events[index], chunk.encoded.setdefault(encoder, {})
                frame = known.get(index)
                if frame is None:
                    frame = known[index] = encoder.encode_event(event)
                self._add_frame(event, frame)
            self._position = self.tail.cursor

    def missed_frames(self, encoder: Encoder) -> list[bytes]:
        """Return the encoded events to replay, without chat rooms of which the user is no member. Call this once."""
        if self.reason is None and self.chat.memberships is not None:
            self._apply_memberships(encoder)
        return self.frames if self.reason is None else []

    def _apply_memberships(self, encoder: Encoder) -> None:
        redacted, dropped = self.chat.decide()
        for index, event in redacted.items():
            self.frames[index] = encoder.encode_event(event)
        for index in sorted(dropped, reverse=True):
            del self.frames[index], self.seqs[index]

    def _find_in_buffer(self) -> list[tuple[Chunk, int]]:
        """Return the events in the replay buffer for this session, in log order, each as its chunk and its index there.
        If there are more than ``MAX_REPLAY_EVENTS``, return more than that.
        """
        buffer, limit = self.tail.buffer, MAX_REPLAY_EVENTS - len(self.frames)
        found = buffer.find_events(self._position, self._channels, limit)
        if buffer.zone_channel in self._channels or not self._floors:
            return found
        since: dict[int, list[str]] = {}
        for channel, floor in self._floors.items():
            since.setdefault(max(floor, self._position), []).append(channel)
        for after, channels in since.items():
            found += buffer.find_events(after, channels, limit)
        return sorted(found, key=lambda each: each[0].first_seq + each[1])

    def _is_cursor_valid(self) -> bool:
        """Return whether the cursor is in the history of the present head, and not beyond the head."""
        return self._cursor.seq <= self.tail.cursor and self._is_in_history()

    def _may_become_valid(self) -> bool:
        """Return whether the relay may make the cursor usable later, because it may not have read the cursor's epoch or
        event yet.
        """
        return epoch_number(self._cursor.epoch) > epoch_number(self.tail.epoch) or self._is_in_history()

    def _is_in_history(self) -> bool:
        tail, cursor = self.tail, self._cursor
        if cursor.epoch not in tail.epochs:
            return False
        number = epoch_number(cursor.epoch)
        later = [first for epoch, first in tail.epochs.items() if epoch_number(epoch) > number]
        return cursor.epoch == tail.epoch or cursor.seq < min(later, default=0)

    # events that the replay buffer does not hold

    async def _fetch_part(self, engine: Engine, encoder: Encoder) -> None:
        """Fetch the next events from Redis or SQL: from the cheaper of the two that has them. Set ``too_old`` if
        neither has them.
        """
        until = self._buffer_start - 1
        if until - self._position > MAX_SCANNED_EVENTS and await self._fetch_from_sql(engine, encoder, until):
            return
        page = await log.read_range(
            engine.store.read_connection, self.tail.zone, self._position, EVENTS_PER_PAGE, until
        )
        if page and page[0].seq == self._position + 1:
            self._add_events(self._events_for_session(page), encoder, page[-1].seq)
        elif not await self._fetch_from_sql(engine, encoder, page[0].seq - 1 if page else until):
            self.reason = "too_old"

    async def _fetch_from_sql(self, engine: Engine, encoder: Encoder, last_seq: int) -> bool:
        """Add the events in SQL up to ``last_seq``. Return False if SQL does not have the events after the cursor, or
        is unavailable."""
        zone = self.tail.zone
        try:
            first = await reader.first_seq(engine.archive, zone)
            checkpoint = await reader.checkpoint(engine.archive, zone)
            if first is None or checkpoint is None or first > self._position + 1:
                return False
            last_seq = min(last_seq, checkpoint.seq)
            if last_seq <= self._position:
                return False
            floors = dict.fromkeys(self._channels, 0) | self._floors
            events = await reader.events(engine.archive, zone, self._position, last_seq, floors, MAX_REPLAY_EVENTS + 1)
        except CalloutError as error:
            logger.warning("resume_without_archive", zone=zone, error=str(error))
            return False
        self._add_events(events, encoder, last_seq)
        return True

    def _events_for_session(self, page: Iterable[Event]) -> list[Event]:
        if self.tail.buffer.zone_channel in self._channels:
            return list(page)
        return [event for event in page if self._is_for_session(event)]

    def _is_for_session(self, event: Event) -> bool:
        floors = self._floors
        return any(name in self._channels or (name in floors and event.seq > floors[name]) for name in event.to)

    def _add_events(self, events: Iterable[Event], encoder: Encoder, position: int) -> None:
        for event in events:
            self._add_frame(event, encoder.encode_event(event))
            if self.reason:
                return
        self._position = position

    def _add_frame(self, event: Event, frame: bytes) -> None:
        if event.type.startswith(INTERNAL_PREFIXES) or self.reason:
            return
        if self._accepts_type is not None and not self._accepts_type(event.type):
            return
        if self.may_replay is not None and not self.may_replay(event):
            return
        if is_chat(event):
            self.chat.note_event(len(self.frames), event)
        self.frames.append(frame)
        self.seqs.append(event.seq)
        self._bytes += len(frame)
        if len(self.frames) > MAX_REPLAY_EVENTS or self._bytes > MAX_REPLAY_BYTES:
            self.reason = "too_old"
            self.frames = []
