"""What waits to be sent to one client: bounded in bytes and in age, written as much as fits at once.

What it is sent this turn collects in ``next`` and ``more`` and is written by the hub's flush. While the
transport still holds bytes nothing is written; what comes then goes *behind*, in a queue bounded in bytes
and in the age of its oldest frame (over either: 4001, and the client resumes). Replies to commands are
not kept waiting behind a broadcast.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from time import monotonic
from typing import TYPE_CHECKING, Any

from engine.errors import CalloutError
from server.gateway.protocol import Close, State
from server.schemas import problems
from server.schemas.ops import Op

if TYPE_CHECKING:
    from server.gateway.gateway import Gateway
    from server.gateway.hub import Hub

QUEUE_BYTES = 1024 * 1024
QUEUE_AGE_S = 10.0
WRITE_BYTES = 64 * 1024
"""Joined into one write at most: what the transport may keep a private copy of, beside one frame."""


class SendBuffer:
    """The outgoing half of a session (server/gateway/session.py), which says how it is closed."""

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

    write: Callable[[Any], Any]

    def __init__(self, gateway: Gateway, hub: Hub, session_id: str) -> None:
        self.gateway = gateway
        self.hub = hub
        self.id = session_id
        self.state = State.ACCEPTED
        self.next: bytes | None = None
        """The first frame that waits for this turn's flush; then come those in ``more``, never without it."""
        self.more: list[bytes] = []
        self.replies: list[bytes] = []
        self.plain = True
        """Whether the flush may simply write ``next``: nothing is in ``more`` or ``replies``, the
        transport is empty.
        """
        self.written = 0
        """Pushes that left the queue of a turn, of which ``unlogged`` were no events."""
        self.unlogged = 0
        self.answered = True
        """Whether anything came since the last ping."""
        self.heard_at = monotonic()
        """When anything last came."""
        self.heard = False
        """Whether anything came since the last batch of signs of life."""
        self._behind: deque[tuple[float, bytes]] | None = None
        self._behind_bytes = 0
        self._paused = False

    def close(self, code: int, reason: str) -> None:
        """End it. The session's to say how."""
        raise NotImplementedError

    def push(self, frame: bytes) -> None:
        """Queue a frame that is no event, behind the pushes before it."""
        self.unlogged += 1
        self.push_all((frame,))

    def push_all(self, frames: Collection[bytes]) -> None:
        """Queue events."""
        if self.state is not State.CLOSED and frames:
            self.hub.settle()
            rest = list(frames)
            if self.next is None:
                self.next = rest.pop(0)
            self.more += rest
            self._wake()

    def silence_ms(self, now: float) -> int:
        """How long ago at ``now`` (monotonic seconds) anything last came."""
        return max(0, round((now - self.heard_at) * 1000))

    def beat(self) -> None:
        """Send the heads and the ping, which is to be answered."""
        self.answered = False
        self.push(self.gateway.beat(self.hub))

    def mark(self, heads: bytes) -> None:
        """Send the heads out of turn, ready made."""
        self.push(heads)

    @property
    def pushes(self) -> int:
        """Logged pushes so far, those queued included: what ``ping`` answers."""
        self.hub.settle()
        return self.written + (self.next is not None) + len(self.more) - self.unlogged

    def _wake(self) -> None:
        self.plain = False
        self.hub.wake(self)

    def reply(self, op: Op, ok: object) -> None:
        """Answer ``op``, if it asked for an answer, ahead of the pushes."""
        if op.id is not None:
            self._first(self.hub.frames.reply(op.id, ok))

    def refuse(self, request: int | str | None, error: CalloutError) -> None:
        """Answer with a problem; ``request`` None where the message had no id."""
        self.gateway.counters.refusals[error.code] += 1
        named = f"{self.id}.{request}" if request is not None else self.id
        self._first(self.hub.frames.refusal(request, problems.problem(error, named)))

    def _first(self, frame: bytes) -> None:
        if self.state is not State.CLOSED:
            self.replies.append(frame)
            self._wake()

    def flush(self) -> None:
        """Write what waits as one piece. Called by the hub once a turn, where it is more than one push."""
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
        self._count(len(queue), size)
        self.write(b"".join(queue))
        return None

    def _take(self) -> list[bytes]:
        """The pushes of this turn, in order."""
        queue = [] if self.next is None else [self.next, *self.more]
        self.next = None
        self.more.clear()
        self.written += len(queue)
        return queue

    def _count(self, frames: int, size: int) -> None:
        counters = self.gateway.counters
        counters.frames_out += frames
        counters.bytes_out += size
        counters.writes += 1

    def _fall_behind(self, queue: list[bytes]) -> None:
        """Pushes go behind those that wait already; replies stay where they are, ahead of them."""
        if queue:
            now = monotonic()
            if self._behind is None:
                self._behind = deque()
                self.gateway.pulse.behind.add(self)
            self._behind.extend((now, frame) for frame in queue)
            self._behind_bytes += sum(map(len, queue))
        if self.waiting_bytes > QUEUE_BYTES:
            self.close(Close.TOO_SLOW, "too slow")

    def _catch_up(self) -> None:
        """Write the oldest in pieces, as long as the transport takes each whole."""
        while not self._paused and (self.replies or self._behind):
            piece, self.replies = self.replies, []
            size = sum(map(len, piece))
            while self._behind and size < WRITE_BYTES:
                frame = self._behind.popleft()[1]
                piece.append(frame)
                size += len(frame)
                self._behind_bytes -= len(frame)
            self._count(len(piece), size)
            self.write(b"".join(piece))
        if self._behind is not None and not self._behind:
            self._behind = None
            self.gateway.pulse.behind.discard(self)

    @property
    def waiting_bytes(self) -> int:
        """What waits because the transport took no more."""
        return self._behind_bytes + sum(map(len, self.replies))

    def is_late(self, now: float) -> bool:
        """Whether the oldest frame has waited too long."""
        return bool(self._behind) and now - self._behind[0][0] > QUEUE_AGE_S  # type: ignore[index]

    @property
    def unsent(self) -> bool:
        """Whether anything waits to be written, here or in the transport, a broadcast of this turn apart."""
        return self._paused or self.next is not None or bool(self.more or self.replies)

    # the transport's mood

    def pause(self) -> None:
        """The transport holds bytes."""
        self._paused = True
        self.plain = False

    def resume(self) -> None:
        """It holds none any more."""
        self._paused = False
        self._catch_up()
        self.plain = not (self._paused or self.more or self.replies)

    def alive(self) -> None:
        """A pong of the WebSocket protocol."""
        self.answered = self.heard = True
        self.heard_at = monotonic()

    def _empty(self) -> None:
        """Nothing will be sent any more."""
        self.next, self.plain = None, False
        self.more.clear()
        self.replies.clear()
        self._behind, self._behind_bytes = None, 0
