"""The frames that wait to be sent to one client: bounded in bytes and in age, joined into few writes.

``next_frame`` and ``more_frames`` collect the pushes of one turn of the loop, and the hub's flush writes them. While
the transport holds bytes, pushes wait in a queue of frames that are *behind*, bounded in bytes and in the age of its
oldest frame. Over a bound the session is closed with 4001, and the client resumes. Replies are sent before all pushes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from time import monotonic
from typing import Any, Protocol

from engine.errors import CalloutError
from server.gateway.counters import Counters
from server.gateway.frames import JsonFrames
from server.gateway.protocol import Close, State
from server.schemas import problems
from server.schemas.ops import Op

MAX_QUEUE_BYTES = 1024 * 1024
MAX_QUEUE_AGE_S = 10.0
MAX_WRITE_BYTES = 64 * 1024
"""The most bytes that are joined into one write: the transport may hold a copy of these, and of one more frame."""


class BufferHub(Protocol):
    """The part of a hub that a send buffer uses. A hub sends events to all sessions of one subprotocol."""

    frames: JsonFrames

    def queue_broadcast(self) -> None:
        """Queue the broadcast for the sessions to which it is not written yet."""

    def schedule_flush(self, session: SendBuffer) -> None:
        """Flush ``session`` by the end of this turn of the loop."""


class BufferGateway(Protocol):
    """The part of a gateway that a send buffer uses."""

    counters: Counters
    sessions_with_backlog: set[SendBuffer]

    def heartbeat(self, hub: BufferHub) -> bytes:
        """Return the heartbeat's bytes for all sessions in ``hub``."""


class SendBuffer:
    """The outgoing half of a session: the frames that wait to be sent. ``Session`` defines how to close."""

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_paused",
        "descriptor",
        "gateway",
        "hub",
        "id",
        "is_direct",
        "more_frames",
        "next_frame",
        "received_at",
        "received_since_ping",
        "received_since_touch",
        "replies",
        "state",
        "unlogged_pushes",
        "write",
        "written_pushes",
    )

    gateway: BufferGateway
    hub: BufferHub
    write: Callable[[Any], Any]

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.state = State.ACCEPTED
        self.descriptor = -1
        """The socket to which a broadcast may be sent past the transport while ``is_direct``; -1: none."""
        self.next_frame: bytes | None = None
        """The first frame that waits for this turn's flush; ``more_frames`` follow. None: no frame waits."""
        self.more_frames: list[bytes] = []
        self.replies: list[bytes] = []
        self.is_direct = True
        """Whether the flush may write ``next_frame`` directly: no other frame waits, and the transport is empty."""
        self.written_pushes = 0
        """The number of pushes that left the queue of their turn, those in ``unlogged_pushes`` included."""
        self.unlogged_pushes = 0
        """The number of pushes that are not events of the log."""
        self.received_since_ping = True
        """Whether the client sent anything since the last ping."""
        self.received_at = monotonic()
        """The monotonic time at which the client last sent anything."""
        self.received_since_touch = False
        """Whether the client sent anything since the last batch of signs of life."""
        self._backlog: deque[tuple[float, bytes]] | None = None
        self._backlog_bytes = 0
        self._paused = False

    def close(self, code: int, reason: str) -> None:
        """Close the session with this close code. ``Session`` implements this method."""
        raise NotImplementedError

    def push(self, frame: bytes) -> None:
        """Queue a frame that is not an event of the log, after the earlier pushes."""
        self.unlogged_pushes += 1
        self.push_all((frame,))

    def push_all(self, frames: Collection[bytes]) -> None:
        """Queue the frames of events, in this order."""
        if self.state is not State.CLOSED and frames:
            self.hub.queue_broadcast()
            rest = list(frames)
            if self.next_frame is None:
                self.next_frame = rest.pop(0)
            self.more_frames += rest
            self._schedule_flush()

    def silence_ms(self, now: float) -> int:
        """Return for how many ms the client has sent nothing at ``now`` (monotonic seconds)."""
        return max(0, round((now - self.received_at) * 1000))

    def heartbeat(self) -> None:
        """Send the heads of the zones and the ping. The client must answer the ping."""
        self.received_since_ping = False
        self.push(self.gateway.heartbeat(self.hub))

    def push_heads(self, heads: bytes) -> None:
        """Send the encoded heads outside the heartbeat."""
        self.push(heads)

    @property
    def push_count(self) -> int:
        """Return the number of logged pushes so far, queued pushes included: ``n`` in the reply to ``ping``."""
        self.hub.queue_broadcast()
        return self.written_pushes + (self.next_frame is not None) + len(self.more_frames) - self.unlogged_pushes

    def _schedule_flush(self) -> None:
        self.is_direct = False
        self.hub.schedule_flush(self)

    def reply(self, op: Op, ok: object) -> None:
        """Answer ``op`` ahead of the pushes, if it has an id."""
        if op.id is not None:
            self._send_first(self.hub.frames.reply_frame(op.id, ok))

    def refuse(self, request: int | str | None, error: CalloutError) -> None:
        """Send ``error`` as the reply. ``request`` is the message's id, None if it had none."""
        self.gateway.counters.refusals_by_code[error.code] += 1
        name = f"{self.id}.{request}" if request is not None else self.id
        self._send_first(self.hub.frames.refusal_frame(request, problems.problem_object(error, name)))

    def _send_first(self, frame: bytes) -> None:
        if self.state is not State.CLOSED:
            self.replies.append(frame)
            self._schedule_flush()

    def flush(self) -> None:
        """Write all waiting frames in one piece. The hub calls this once a turn if more than one push waits."""
        queue = self._take_pushes()
        if self._paused:
            return self._add_to_backlog(queue)
        self.is_direct = True
        queue, self.replies = self.replies + queue, []
        size = sum(map(len, queue))
        if size > MAX_WRITE_BYTES:
            self._add_to_backlog(queue)
            self._write_backlog()
        elif queue:
            self.gateway.counters.count_write(len(queue), size)
            self.write(b"".join(queue))

    def _take_pushes(self) -> list[bytes]:
        """Remove and return the pushes of this turn, in order."""
        queue = [] if self.next_frame is None else [self.next_frame, *self.more_frames]
        self.next_frame = None
        self.more_frames.clear()
        self.written_pushes += len(queue)
        return queue

    def _add_to_backlog(self, queue: list[bytes]) -> None:
        """Append pushes to the queue of waiting pushes. Replies stay in ``replies``, ahead of all pushes."""
        if queue:
            now = monotonic()
            if self._backlog is None:
                self._backlog = deque()
                self.gateway.sessions_with_backlog.add(self)
            self._backlog.extend((now, frame) for frame in queue)
            self._backlog_bytes += sum(map(len, queue))
        if self.waiting_bytes > MAX_QUEUE_BYTES:
            self.close(Close.TOO_SLOW, "too slow")

    def _write_backlog(self) -> None:
        """Write the oldest frames in pieces, as long as the transport accepts each piece as a whole."""
        while not self._paused and (self.replies or self._backlog):
            piece, self.replies = self.replies, []
            size = sum(map(len, piece))
            while self._backlog and size < MAX_WRITE_BYTES:
                frame = self._backlog.popleft()[1]
                piece.append(frame)
                size += len(frame)
                self._backlog_bytes -= len(frame)
            self.gateway.counters.count_write(len(piece), size)
            self.write(b"".join(piece))
        if self._backlog is not None and not self._backlog:
            self._backlog = None
            self.gateway.sessions_with_backlog.discard(self)

    @property
    def waiting_bytes(self) -> int:
        """Return the number of bytes that wait because the transport accepts no more now."""
        return self._backlog_bytes + sum(map(len, self.replies))

    def is_late(self, now: float) -> bool:
        """Return whether the oldest frame has waited longer than ``MAX_QUEUE_AGE_S`` at ``now`` (monotonic seconds)."""
        return bool(self._backlog) and now - self._backlog[0][0] > MAX_QUEUE_AGE_S  # type: ignore[index]

    @property
    def has_unsent(self) -> bool:
        """Return whether anything waits to be written, here or in the transport, except a broadcast of this turn."""
        return self._paused or self.next_frame is not None or bool(self.more_frames or self.replies)

    # callbacks of the transport

    def pause(self) -> None:
        """Write nothing until ``resume``: the transport holds unsent bytes."""
        self._paused = True
        self.is_direct = False

    def resume(self) -> None:
        """Write what waits: the transport is empty again."""
        self._paused = False
        self._write_backlog()
        self.is_direct = not (self._paused or self.more_frames or self.replies)

    def note_alive(self) -> None:
        """Note that the client is alive: a pong of the WebSocket protocol arrived."""
        self.received_since_ping = self.received_since_touch = True
        self.received_at = monotonic()

    def _drop_frames(self) -> None:
        """Drop all frames and write no more: the session has ended, and its descriptor may soon be another socket's."""
        self.next_frame, self.is_direct, self.descriptor = None, False, -1
        self.write = lambda _: None
        self.more_frames.clear()
        self.replies.clear()
        self._backlog, self._backlog_bytes = None, 0
