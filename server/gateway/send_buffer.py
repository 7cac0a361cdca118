"""The frames that wait to be sent to one client: bounded in bytes and in age, joined into few writes.

``next`` and ``more`` collect the pushes of one turn of the loop, and the hub's flush writes them. While the transport
holds bytes, pushes are added to a queue of frames that are *behind*, bounded in bytes and in the age of its oldest
frame. Over either bound the session is closed with 4001, and the client resumes. Replies are sent before all pushes.
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

QUEUE_BYTES = 1024 * 1024
QUEUE_AGE_S = 10.0
WRITE_BYTES = 64 * 1024
"""The most bytes that are joined into one write: the transport may hold a copy of these, and of one more frame."""


class BufferHub(Protocol):
    """What a send buffer needs of its hub."""

    frames: JsonFrames

    def settle(self) -> None:
        """Queue the broadcast that is not written yet."""

    def wake(self, session: SendBuffer) -> None:
        """Flush ``session`` by the end of this turn of the loop."""


class BufferGateway(Protocol):
    """What a send buffer needs of its gateway."""

    counters: Counters
    behind: set[SendBuffer]

    def heartbeat(self, hub: BufferHub) -> bytes:
        """Return the heartbeat's bytes for all sessions in ``hub``."""


class SendBuffer:
    """The outgoing half of a session. The session (server/gateway/session.py) defines how it is closed."""

    __slots__ = (
        "_behind",
        "_behind_bytes",
        "_paused",
        "answered",
        "gateway",
        "heard",
        "heard_at",
        "hub",
        "id",
        "more",
        "next",
        "plain",
        "replies",
        "state",
        "unlogged",
        "write",
        "written",
    )

    gateway: BufferGateway
    hub: BufferHub
    write: Callable[[Any], Any]

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.state = State.ACCEPTED
        self.next: bytes | None = None
        """The first frame that waits for this turn's flush. The frames in ``more`` follow; without it they are none."""
        self.more: list[bytes] = []
        self.replies: list[bytes] = []
        self.plain = True
        """Whether the flush may write ``next`` directly: ``more``, ``replies`` and the transport are empty."""
        self.written = 0
        """The number of pushes that left the queue of their turn, those in ``unlogged`` included."""
        self.unlogged = 0
        """The number of pushes that are not events of the log."""
        self.answered = True
        """Whether the client sent anything since the last ping."""
        self.heard_at = monotonic()
        """The monotonic time at which the client last sent anything."""
        self.heard = False
        """Whether the client sent anything since the last batch of signs of life."""
        self._behind: deque[tuple[float, bytes]] | None = None
        self._behind_bytes = 0
        self._paused = False

    def close(self, code: int, reason: str) -> None:
        """End the session. ``Session`` implements this."""
        raise NotImplementedError

    def push(self, frame: bytes) -> None:
        """Queue a frame that is not an event of the log, behind the earlier pushes."""
        self.unlogged += 1
        self.push_all((frame,))

    def push_all(self, frames: Collection[bytes]) -> None:
        """Queue the frames of events, in this order."""
        if self.state is not State.CLOSED and frames:
            self.hub.settle()
            rest = list(frames)
            if self.next is None:
                self.next = rest.pop(0)
            self.more += rest
            self._wake()

    def silence_ms(self, now: float) -> int:
        """Return for how many ms the client has sent nothing at ``now`` (monotonic seconds)."""
        return max(0, round((now - self.heard_at) * 1000))

    def heartbeat(self) -> None:
        """Send the heads of the zones and the ping. The client must answer the ping."""
        self.answered = False
        self.push(self.gateway.heartbeat(self.hub))

    def push_heads(self, heads: bytes) -> None:
        """Send the encoded heads outside the heartbeat."""
        self.push(heads)

    @property
    def pushes(self) -> int:
        """Return the number of logged pushes so far, queued pushes included: ``n`` in the reply to ``ping``."""
        self.hub.settle()
        return self.written + (self.next is not None) + len(self.more) - self.unlogged

    def _wake(self) -> None:
        self.plain = False
        self.hub.wake(self)

    def reply(self, op: Op, ok: object) -> None:
        """Answer ``op`` ahead of the pushes, if it has an id."""
        if op.id is not None:
            self._send_first(self.hub.frames.reply(op.id, ok))

    def refuse(self, request: int | str | None, error: CalloutError) -> None:
        """Send ``error`` as the reply. ``request`` is the message's id, None if it had none."""
        self.gateway.counters.refusals[error.code] += 1
        name = f"{self.id}.{request}" if request is not None else self.id
        self._send_first(self.hub.frames.refusal(request, problems.problem(error, name)))

    def _send_first(self, frame: bytes) -> None:
        if self.state is not State.CLOSED:
            self.replies.append(frame)
            self._wake()

    def flush(self) -> None:
        """Write all waiting frames in one piece. The hub calls this once a turn if more than one push waits."""
        queue = self._take()
        if self._paused:
            return self._fall_behind(queue)
        self.plain = True
        if self.replies:
            queue = self.replies + queue
            self.replies.clear()
        if not queue:
            return None
        size = sum(map(len, queue))
        if size > WRITE_BYTES:
            self._fall_behind(queue)
            return self._catch_up()
        self.gateway.counters.count_write(len(queue), size)
        self.write(b"".join(queue))
        return None

    def _take(self) -> list[bytes]:
        """Remove and return the pushes of this turn, in order."""
        queue = [] if self.next is None else [self.next, *self.more]
        self.next = None
        self.more.clear()
        self.written += len(queue)
        return queue

    def _fall_behind(self, queue: list[bytes]) -> None:
        """Append pushes to the queue of waiting pushes. Replies stay in ``replies``, ahead of all pushes."""
        if queue:
            now = monotonic()
            if self._behind is None:
                self._behind = deque()
                self.gateway.behind.add(self)
            self._behind.extend((now, frame) for frame in queue)
            self._behind_bytes += sum(map(len, queue))
        if self.waiting_bytes > QUEUE_BYTES:
            self.close(Close.TOO_SLOW, "too slow")

    def _catch_up(self) -> None:
        """Write the oldest frames in pieces, as long as the transport accepts each piece as a whole."""
        while not self._paused and (self.replies or self._behind):
            piece, self.replies = self.replies, []
            size = sum(map(len, piece))
            while self._behind and size < WRITE_BYTES:
                frame = self._behind.popleft()[1]
                piece.append(frame)
                size += len(frame)
                self._behind_bytes -= len(frame)
            self.gateway.counters.count_write(len(piece), size)
            self.write(b"".join(piece))
        if self._behind is not None and not self._behind:
            self._behind = None
            self.gateway.behind.discard(self)

    @property
    def waiting_bytes(self) -> int:
        """Return the number of bytes that wait because the transport accepts no more."""
        return self._behind_bytes + sum(map(len, self.replies))

    def is_late(self, now: float) -> bool:
        """Return whether the oldest frame has waited longer than ``QUEUE_AGE_S`` at ``now`` (monotonic seconds)."""
        return bool(self._behind) and now - self._behind[0][0] > QUEUE_AGE_S  # type: ignore[index]

    @property
    def unsent(self) -> bool:
        """Return whether anything waits to be written, here or in the transport, except a broadcast of this turn."""
        return self._paused or self.next is not None or bool(self.more or self.replies)

    # callbacks of the transport

    def pause(self) -> None:
        """Write nothing until ``resume``: the transport holds unsent bytes."""
        self._paused = True
        self.plain = False

    def resume(self) -> None:
        """Write what waits: the transport is empty again."""
        self._paused = False
        self._catch_up()
        self.plain = not (self._paused or self.more or self.replies)

    def alive(self) -> None:
        """Note that the client is alive: a pong of the WebSocket protocol arrived."""
        self.answered = self.heard = True
        self.heard_at = monotonic()

    def _empty(self) -> None:
        """Drop all waiting frames. Called when the session has ended."""
        self.next, self.plain = None, False
        self.more.clear()
        self.replies.clear()
        self._behind, self._behind_bytes = None, 0
