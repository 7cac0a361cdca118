"""Sessions over HTTP: an event stream, and a long poll that waits until a stream would be sent an event.

Both are sessions of the gateway like a socket, on a hub of their own: the same relay wakes them, they resume from the
same replay buffer, have the same bounded send buffer, and end for the same reasons. Only the output differs. A socket
writes to its transport. A stream passes its bytes to the coroutine that answers the request (``EventStreamResponse``),
and this coroutine accepts no more until the HTTP server has accepted those bytes. A poll uses no bytes at all: it is
only woken, and then reads the events from the replay buffer by its cursor, like a client that reconnects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from secrets import token_hex
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

from engine.types import Principal
from server.gateway import sse
from server.gateway.hub import Hub
from server.gateway.protocol import Close
from server.gateway.session import Session, SessionGateway, SessionHub
from server.http.http_protocol import ABORT_EXTENSION
from server.http.responses import Header

CLOSE_WAIT_S = 5.0
"""How many seconds a client has to accept its last bytes. Then the connection is aborted, whether they were sent or
not.
"""
ABNORMAL_CLOSURE_CODE = 1006

log = structlog.get_logger(__name__)


class EventStream(Session):
    """The session of one event stream. ``types`` are the event types that it receives; none means all types."""

    __slots__ = ("_types", "other_cursors", "response")

    def __init__(self, gateway: SessionGateway, hub: SessionHub, caller: Principal, types: Collection[str]) -> None:
        super().__init__(gateway, f"str_{token_hex(8)}", None, hub)
        self.principal = caller
        self.response = EventStreamResponse(self)
        self.write = self.response.write
        self._types = frozenset(types)
        self.other_cursors = ""
        """The client's cursors of zones that this gateway does not serve, as text: each id has them too."""

    def receives_type(self, event_type: str) -> bool:
        """Return whether the client asked for events of type ``event_type``, by the type's name or as ``noun.*``."""
        return not self._types or event_type in self._types or f"{event_type.partition('.')[0]}.*" in self._types

    def push_lossy(self, push_type: str, frame: bytes) -> None:
        """Send ``frame`` as on a socket, if the client asked for events of type ``push_type``."""
        if self.receives_type(push_type):
            super().push_lossy(push_type, frame)

    def silence_ms(self, now: float) -> int:
        """Return 0: a stream's client sends nothing, so the session counts as alive while its connection is open."""
        return 0

    def heartbeat(self) -> None:
        """Send the heads, so that the client's cursor moves without events and proxies do not close an idle connection.
        The client cannot answer.
        """
        self.push_heads(self.gateway.heartbeat(self.hub))

    def push_heads(self, heads: bytes) -> None:
        """Send ``heads``: the newest seq of each zone, already encoded."""
        super().push_heads(self.with_other_cursors(heads))

    def with_other_cursors(self, block: bytes) -> bytes:
        """Return ``block``, a server-sent event, with the cursors of the zones that this gateway does not serve added
        to its id.
        """
        return sse.add_to_id(block, self.other_cursors) if self.other_cursors else block

    def _end_transport(self, code: int, reason: str) -> None:
        self.response.close(code, reason)

    def _abort_transport(self) -> None:
        self.response.abort()


class PollSession(EventStream):
    """The session of one long poll while the poll waits for an event."""

    __slots__ = ("woken",)

    def __init__(self, gateway: SessionGateway, hub: SessionHub, caller: Principal, types: Collection[str]) -> None:
        super().__init__(gateway, hub, caller, types)
        self.woken = asyncio.Event()
        """Set when an event has arrived, or when the session has ended."""
        self.write = self._wake_poll

    def _wake_poll(self, data: Any) -> None:
        self.woken.set()

    def push_lossy(self, push_type: str, frame: bytes) -> None:
        """Do nothing: a poll's response contains events of the log only, so this push does not end the wait."""

    def heartbeat(self) -> None:
        """Do nothing: the response to the poll carries the zone heads."""

    def push_heads(self, heads: bytes) -> None:
        """Do nothing: the response to the poll carries the zone heads."""

    def _end_transport(self, code: int, reason: str) -> None:
        self.woken.set()

    def _abort_transport(self) -> None:
        self.woken.set()


class EventStreamHub(Hub):
    """The hub of event streams and polls. It also stores them by user: a user who named channels may not be subscribed
    to their own channel, but their sessions must still be found when their access is revoked.
    """

    __slots__ = ("_by_user", "count")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._by_user: dict[str, dict[EventStream, None]] = {}
        self.count = 0
        """How many streams and polls are open. (No ``__len__``: a hub without sessions must not be false.)"""

    def recipients(self, event_type: str, channels: Iterable[str], zone_channel: str) -> Collection[Session]:
        """Return the same sessions as the hub of a socket, without the event streams that did not ask for events of
        type ``event_type``.
        """
        found = super().recipients(event_type, channels, zone_channel)
        if not found:
            return found
        return [session for session in found if isinstance(session, EventStream) and session.receives_type(event_type)]

    def deliver(self, recipients: Collection[Session], payload: bytes) -> None:
        """Send one event to ``recipients``, as for sockets. There are few streams, so this loop need not be as fast."""
        frame = self.frames.event_frame(payload)
        for session in recipients:
            session.push_all((session.with_other_cursors(frame) if isinstance(session, EventStream) else frame,))

    def add_stream(self, stream: EventStream) -> None:
        """Add ``stream`` to the event streams of its user."""
        self._by_user.setdefault(stream.caller.id, {})[stream] = None
        self.count += 1

    def leave(self, session: Session) -> None:
        """Remove ``session``, which has ended, from the hub and from the event streams of its user."""
        super().leave(session)
        streams = self._by_user.get(session.caller.id, {})
        if session in streams:
            del streams[session]
            self.count -= 1
        if not streams:
            self._by_user.pop(session.caller.id, None)

    def streams_of(self, user: str) -> list[EventStream]:
        """Return the event streams and polls of ``user``, the oldest first."""
        return list(self._by_user.get(user, ()))


class EventStreamResponse:
    """The HTTP response of an event stream, without an end: its body is what the stream's session writes."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._pieces: list[bytes] = []
        self._wake_poll = asyncio.Event()
        self._ended = False
        self._send_task: asyncio.Task[None] | None = None
        self._abort: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: Any) -> None:
        """Accept one piece of bytes and pause the session: it writes no more before ``resume``."""
        self._pieces.append(bytes(data))
        self._wake_poll.set()
        self._stream.pause()

    def close(self, code: int, reason: str) -> None:
        """Send the close code and ``reason``, and end the response. A client that does not read cannot receive them, so
        its connection is aborted at once.
        """
        self._pieces.append(sse.close_block(code, reason))
        self._ended = True
        self._wake_poll.set()
        wait = 0 if code == Close.TOO_SLOW else CLOSE_WAIT_S
        self._timer = asyncio.get_running_loop().call_later(wait, self.abort)

    def abort(self) -> None:
        """Abort the connection at once, even if bytes are unsent."""
        if self._abort is not None:
            self._abort()
        if self._send_task is not None:
            self._send_task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header]) -> None:
        """Send the response until the client or the session ends it. HEAD gets the headers only."""
        if scope["method"] == "HEAD":
            self._pieces, self._ended = [], True
        self._abort = scope.get("extensions", {}).get(ABORT_EXTENSION)
        self._send_task = asyncio.create_task(self._send(send, extra))
        disconnect = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait((self._send_task, disconnect), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stream.handle_end(ABNORMAL_CLOSURE_CODE)
            if self._timer is not None:
                self._timer.cancel()
            disconnect.cancel()
            self._send_task.cancel()
            await asyncio.gather(disconnect, self._send_task, return_exceptions=True)

    async def _send(self, send: Send, extra_headers: list[Header]) -> None:
        own = [(b"content-type", sse.MEDIA_TYPE), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*own, *extra_headers]})
            while not self._ended or self._pieces:
                await self._wake_poll.wait()
                self._wake_poll.clear()
                body, self._pieces = b"".join(self._pieces), []
                await send({"type": "http.response.body", "body": body, "more_body": True})
                if not self._ended and not self._pieces:
                    self._stream.resume()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Exception:  # the task's boundary: the response has begun, so no error response can be sent
            log.exception("stream_failed", session=self._stream.id)


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has disconnected. The body of the GET request is read and ignored."""
    while (await receive())["type"] != "http.disconnect":
        pass
