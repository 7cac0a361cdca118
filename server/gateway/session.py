"""One connected client: its identity, its requests and its end. Its outgoing half is in server/gateway/send_buffer.py.

Commands run as tasks of the gateway, not of the session. A command that was sent to Redis is finished, and its outcome
is stored under its key, even if the client has disconnected meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Protocol

import structlog

from engine.errors import Invalid, Unauthenticated
from engine.types import Principal
from server.gateway import broadcast_send, protocol
from server.gateway.connection import Connection
from server.gateway.protocol import Close, Credentials, EmptyObject, State, WrongFrameCounter, WrongMessage
from server.gateway.send_buffer import MAX_WRITE_BYTES, BufferGateway, BufferHub, SendBuffer
from server.gateway.session_limiter import SessionLimiter
from server.schemas.ops import Connect, Op, Ping

log = structlog.get_logger(__name__)

MAX_RUNNING_OPS = 8
"""How many commands of one session run at the same time. Further messages stay unread in the client's own socket."""


class SessionHub(BufferHub, Protocol):
    """The part of a hub (server/gateway/hub.py) that a session uses."""

    def join(self, session: Session, channels: Iterable[str]) -> None:
        """Subscribe ``session`` to ``channels``."""

    def unsubscribe(self, session: Session, channels: Iterable[str]) -> None:
        """Unsubscribe ``session`` from ``channels``."""

    def leave(self, session: Session) -> None:
        """Remove ``session``, which has ended."""


class SessionGateway(BufferGateway, Protocol):
    """The part of a gateway that a session uses."""

    def remove_session(self, session: Session, code: int) -> None:
        """Remove ``session``, which has ended with ``code``."""


class OpExecutor(Protocol):
    """The executor of the ops that sockets send (server/gateway/dispatch.py)."""

    def answer_ping(self, session: Session, op: Ping) -> None:
        """Answer a ping."""

    def start_op(self, session: Session, op: Op) -> None:
        """Start an op that is not a ping. ``session.finish_op`` is called when the op is finished."""

    def count_wrong_value(self, session: Session) -> None:
        """Count a message of a known op with a wrong value."""


class Session(SendBuffer):
    """One connected client: handles the messages of its ``Connection``, and sends replies and pushes."""

    __slots__ = (
        "_connection",
        "_executor",
        "_inbox",
        "_running",
        "_wrong_frames",
        "channels",
        "connect_failed",
        "credential_attempts",
        "credentials",
        "limiter",
        "principal",
        "slot",
    )

    gateway: SessionGateway
    hub: SessionHub

    def __init__(
        self, gateway: SessionGateway, session_id: str, credentials: Credentials | None, hub: SessionHub
    ) -> None:
        super().__init__(session_id)
        self.gateway = gateway
        self.hub = hub
        self.credentials = credentials
        self.credential_attempts = 0
        """How often the client sent credentials that had expired."""
        self.connect_failed = False
        """Whether a ``connect`` failed because a part such as Redis was unavailable, not because of the client."""
        self.principal: Principal | None = None
        self.channels: tuple[str, ...] = ()
        self.slot = -1
        """The slot in the heartbeat wheel; -1 before the session is live."""
        self.limiter: SessionLimiter | None = None
        """Created at the first request over a limit, because most sessions never need it."""
        self._wrong_frames: WrongFrameCounter | None = None
        self._inbox: deque[bytes] | None = None
        self._running = 0

    def open(self, connection: Connection, executor: OpExecutor) -> None:
        """Take over ``connection``, whose response 101 was written, and pass its messages to ``executor``."""
        self._connection, self._executor = connection, executor
        self.write = connection.transport.write
        self.descriptor = broadcast_send.plain_descriptor(connection.transport)

    @property
    def caller(self) -> Principal:
        """Return the session's user. Raises Unauthenticated before ``connect`` has succeeded."""
        if self.principal is None:
            raise Unauthenticated("The first message is connect")
        return self.principal

    def push_lossy(self, push_type: str, frame: bytes) -> None:
        """Send a live push of type ``push_type`` that may be lost. It is dropped if the client is behind."""
        if self._backlog_bytes < MAX_WRITE_BYTES:
            self.push(frame)

    def subscribe(self, channel: str) -> None:
        """Add a channel to the subscriptions of a connected session; do nothing for a closed one."""
        if self.state is State.LIVE and channel not in self.channels:
            self.channels += (channel,)
            self.hub.join(self, (channel,))

    def unsubscribe(self, channel: str) -> None:
        """Remove a channel from the session's subscriptions."""
        self.channels = tuple(name for name in self.channels if name != channel)
        self.hub.unsubscribe(self, (channel,))

    # incoming messages

    def handle_message(self, data: bytes, binary: bool) -> None:
        """Handle one message: ignore a pong, start an op, or queue the message behind the ops that run."""
        self.received_since_ping = self.received_since_touch = True
        self.received_at = monotonic()
        frames = self.hub.frames
        if binary is not frames.binary:
            self.close(Close.UNSUPPORTED, "binary frames only" if frames.binary else "text frames only")
        elif data == frames.pong:
            return
        elif self._running >= MAX_RUNNING_OPS or self.state is State.JOINING or self._inbox:
            self._enqueue_message(data)
        else:
            self._start_op(data)

    def _enqueue_message(self, data: bytes) -> None:
        """Queue a received message and pause reading: TCP slows the client down, and no message is dropped."""
        if self._inbox is None:
            self._inbox = deque()
        if not self._inbox:
            self._connection.pause_reading()
        self._inbox.append(data)

    def _start_op(self, data: bytes) -> None:
        if self.state is State.LEAVING:
            return  # the session ends when its commands are answered: the client repeats this command at another node
        try:
            op = protocol.decode_msgpack(data) if self.hub.frames.binary else protocol.decode(data)
        except WrongMessage as wrong:
            self._refuse_wrong(wrong)
        except EmptyObject:
            pass
        else:
            self._dispatch_op(op)

    def _dispatch_op(self, op: Op) -> None:
        if (self.state is State.LIVE) == isinstance(op, Connect):
            live = self.state is State.LIVE
            error = Invalid("Connected already") if live else Unauthenticated("The first message is connect")
            self._refuse_wrong(WrongMessage(error, op.id))
        elif isinstance(op, Ping):
            self._executor.answer_ping(self, op)
        else:
            self._running += 1
            if isinstance(op, Connect):
                self.state = State.JOINING
            self._executor.start_op(self, op)

    def _refuse_wrong(self, wrong: WrongMessage) -> None:
        self.gateway.counters.invalid_frames += 1
        self.refuse(wrong.request, wrong.error)
        if wrong.wrong_value:
            return self._executor.count_wrong_value(self)
        if self._wrong_frames is None:
            self._wrong_frames = WrongFrameCounter()
        if self._wrong_frames.count_wrong_frame(monotonic()):
            self.close(Close.BAD_MESSAGES, "too many wrong frames")
        elif wrong.fatal:
            self.close(Close.BAD_MESSAGES, "a message is one object")
        return None

    def finish_op(self) -> None:
        """Start the next waiting op, or close after ``close_when_idle``. Called when an op is finished."""
        self._running -= 1
        if self.state is State.LEAVING:
            return self.close_when_idle()
        inbox = self._inbox
        while inbox and self._running < MAX_RUNNING_OPS and self.state in (State.ACCEPTED, State.LIVE):
            self._start_op(inbox.popleft())
        if inbox is not None and not inbox and not self._connection.is_closing:
            self._inbox = None
            self._connection.resume_reading()
        return None

    def close_when_idle(self) -> None:
        """Close with 4000 as soon as the running commands are answered. No other command is started."""
        if self.state is not State.CLOSED:
            self.state = State.LEAVING
            if not self._running:
                self.close(Close.DRAINING, "draining")

    def close(self, code: int, reason: str) -> None:
        """Leave the hub, write the waiting frames if possible, then the close frame. Only the first call has an effect.
        Never raises, and always ends the session: callers close many sessions in a row."""
        if self.state is State.CLOSED:
            return
        try:
            self._write_waiting_frames(code)
            self._end_transport(code, reason)
        except Exception:  # no exception may reach the caller's loop over sessions
            log.exception("close_failed", session=self.id, code=code)
            self._abort_transport()

    def _write_waiting_frames(self, code: int) -> None:
        self.hub.queue_broadcast()
        if not self._paused and (last := b"".join((*self.replies, *self._take_pushes()))):
            self.write(last)
        self._end(code)

    def _end_transport(self, code: int, reason: str) -> None:
        self._connection.close(code, reason)

    def _abort_transport(self) -> None:
        self._connection.abort()

    def handle_end(self, code: int) -> None:
        """End the session: the client ended the connection with ``code`` (1006: without a close frame)."""
        if self.state is not State.CLOSED:
            self._end(code)

    def _end(self, code: int) -> None:
        self.state = State.CLOSED
        self.gateway.remove_session(self, code)
        self._drop_frames()
        self._inbox = None
