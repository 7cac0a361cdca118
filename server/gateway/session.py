"""One connected client: who it is, what it asked, and its end. What waits for it is in server/gateway/send_buffer.py.

Commands run as tasks of the gateway, not of the session: one that is on its way to Redis is finished, and
recorded under its key, whether or not its client is still there to hear of it.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from engine.errors import Invalid, Unauthenticated
from engine.types import Principal
from server.gateway import protocol
from server.gateway.connection import Connection
from server.gateway.protocol import Close, Credentials, Patience, Pong, State, Wrong
from server.gateway.send_buffer import WRITE_BYTES, SendBuffer
from server.gateway.session_limiter import SessionLimiter
from server.schemas.ops import Connect, Op, Ping

if TYPE_CHECKING:
    from server.gateway.gateway import Gateway
    from server.gateway.hub import Hub

log = structlog.get_logger(__name__)

AT_ONCE = 8
"""Commands of one session that run at the same time; more wait unread, in the client's own socket."""


class Session(SendBuffer):
    """A receiver of one connection (see server/gateway/connection.py). Made by the gateway, which it names to
    others.
    """

    __slots__ = (
        "_connection",
        "_inbox",
        "_patience",
        "_running",
        "channels",
        "credentials",
        "principal",
        "restraint",
        "slot",
        "tries",
        "unlucky",
    )

    def __init__(self, gateway: Gateway, session_id: str, credentials: Credentials, hub: Hub | None = None) -> None:
        super().__init__(gateway, gateway.hub if hub is None else hub, session_id)
        self.credentials: Credentials | None = credentials
        self.tries = 0
        """Credentials shown that had run out."""
        self.unlucky = False
        """Whether a ``connect`` failed for want of Redis or the like, not for the client's fault."""
        self.principal: Principal | None = None
        self.channels: tuple[str, ...] = ()
        self.slot = -1
        self.restraint: SessionLimiter | None = None
        """Made at the first request too many: most sessions never need it."""
        self._patience: Patience | None = None
        self._inbox: deque[bytes] | None = None
        self._running = 0

    def own(self, connection: Connection) -> None:
        """The connection is ours, its 101 written."""
        self._connection = connection
        self.write = connection.transport.write

    @property
    def caller(self) -> Principal:
        """The principal of a live session. Raises Unauthenticated before that."""
        if self.principal is None:
            raise Unauthenticated("The first message is connect")
        return self.principal

    def hint(self, kind: str, frame: bytes) -> None:
        """A live push of ``kind`` that may be lost: one who is behind is spared it."""
        if self._behind_bytes < WRITE_BYTES:
            self.push(frame)

    # in

    def message(self, data: bytes, binary: bool) -> None:
        """One message: a pong, or work to begin, or to keep until the work in hand is done."""
        self.answered = self.heard = True
        self.heard_at = monotonic()
        frames = self.hub.frames
        if binary is not frames.binary:
            self.close(Close.UNSUPPORTED, "binary frames only" if frames.binary else "text frames only")
        elif data == frames.pong:
            return
        elif self._running >= AT_ONCE or self.state is State.JOINING or self._inbox:
            self._keep(data)
        else:
            self._begin(data)

    def _keep(self, data: bytes) -> None:
        """More than one reading brings is left to TCP: the client is slowed down, nothing is thrown away."""
        if self._inbox is None:
            self._inbox = deque()
        if not self._inbox:
            self._connection.hold()
        self._inbox.append(data)

    def _begin(self, data: bytes) -> None:
        if self.state is State.LEAVING:
            return  # said after we had said goodbye in all but words: it will be repeated elsewhere
        try:
            op = protocol.decode_packed(data) if self.hub.frames.binary else protocol.decode(data)
        except Wrong as wrong:
            self._answer_wrong(wrong)
        except Pong:
            pass
        else:
            self._dispatch(op)

    def _dispatch(self, op: Op) -> None:
        if (self.state is State.LIVE) == isinstance(op, Connect):
            live = self.state is State.LIVE
            error = Invalid("Connected already") if live else Unauthenticated("The first message is connect")
            self._answer_wrong(Wrong(error, op.id))
        elif isinstance(op, Ping):
            self.gateway.ping(self, op)
        else:
            self._running += 1
            if isinstance(op, Connect):
                self.state = State.JOINING
            self.gateway.work(self, op)

    def _answer_wrong(self, wrong: Wrong) -> None:
        self.gateway.counters.errors += 1
        self.refuse(wrong.request, wrong.error)
        if wrong.value:
            return self.gateway.put_off(self)
        if self._patience is None:
            self._patience = Patience()
        if self._patience.is_over(monotonic()):
            self.close(Close.BAD_MESSAGES, "too many wrong frames")
        elif wrong.fatal:
            self.close(Close.BAD_MESSAGES, "a message is one object")
        return None

    def done(self) -> None:
        """A piece of work is finished: begin the next that waits, or go if that was asked."""
        self._running -= 1
        if self.state is State.LEAVING:
            return self.leave()
        inbox = self._inbox
        while inbox and self._running < AT_ONCE and self.state in (State.ACCEPTED, State.LIVE):
            self._begin(inbox.popleft())
        if inbox is not None and not inbox and not self._connection.closing:
            self._inbox = None
            self._connection.go_on()
        return None

    # the end

    def leave(self) -> None:
        """Close with 4000 as soon as the commands in hand are answered; none is begun any more."""
        if self.state is not State.CLOSED:
            self.state = State.LEAVING
            if not self._running:
                self.close(Close.DRAINING, "draining")

    def close(self, code: int, reason: str) -> None:
        """Leave the hub, write what is already said if it can be, then the close frame. Once.

        Never raises, and always ends the session: callers close many in a row, and one that cannot be told must
        neither stay itself nor keep the next one open.
        """
        if self.state is State.CLOSED:
            return
        try:
            self._say_last(code)
            self._hang_up(code, reason)
        except Exception:  # whatever it is, it must not reach the caller's loop
            log.exception("close_failed", session=self.id, code=code)
            self._cut()

    def _say_last(self, code: int) -> None:
        self.hub.settle()
        if not self._paused:
            last = b"".join((*self.replies, *self._take()))
            if last:
                self.write(last)
        self._leave(code)

    def _hang_up(self, code: int, reason: str) -> None:
        self._connection.close(code, reason)

    def _cut(self) -> None:
        self._connection.cut()

    def lost(self, code: int) -> None:
        """The connection ended from the other side, with ``code`` (1006: without a word)."""
        if self.state is not State.CLOSED:
            self._leave(code)

    def _leave(self, code: int) -> None:
        self.state = State.CLOSED
        self.gateway.forget(self, code)
        self._empty()
        self._inbox = None
