"""Sessions over HTTP: an event stream, and a long poll that waits for what a stream would be sent.

Both are sessions of the gateway like any socket, on a hub of their own: they are woken by the same relay, resume from
the same memory, are bounded by the same queue, and end for the same reasons. Only what is below differs. A socket
writes to its transport; a stream hands its bytes to the coroutine that answers the request (``EventStreamResponse``),
which takes no more until the server has taken those; and a poll takes nothing at all: that something came is all it
wants to know, since what came it reads from memory, by its cursor, like one who comes back."""

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
from server.gateway.protocol import Close, Credentials
from server.gateway.session import Session, SessionGateway, SessionHub
from server.http.http_protocol import ABORT
from server.http.responses import Header

CLOSE_WAIT_S = 5.0
"""For a client to take its last bytes; then the connection is cut, sent or not."""
GONE = 1006

log = structlog.get_logger(__name__)


class Stream(Session):
    """One event stream; ``types`` narrows what it hears, "" of them being everything."""

    __slots__ = ("_types", "outlet")

    def __init__(self, gateway: SessionGateway, hub: SessionHub, caller: Principal, types: Collection[str]) -> None:
        super().__init__(gateway, f"str_{token_hex(8)}", Credentials(None, None), hub)
        self.principal = caller
        self.outlet = EventStreamResponse(self)
        self.write = self.outlet.write
        self._types = frozenset(types)

    def wants(self, kind: str) -> bool:
        """Whether it asked for events of this type, by name or as ``noun.*``."""
        return not self._types or kind in self._types or f"{kind.partition('.')[0]}.*" in self._types

    def push_lossy(self, kind: str, frame: bytes) -> None:
        """As on a socket, where the type is wanted."""
        if self.wants(kind):
            super().push_lossy(kind, frame)

    def silence_ms(self, now: float) -> int:
        """Nothing ever comes from it: it is there for as long as its connection is."""
        return 0

    def heartbeat(self) -> None:
        """Move a quiet client's cursor, and keep the connection from looking dead. No answer can come."""
        self.push(self.gateway.heartbeat(self.hub))

    def _hang_up(self, code: int, reason: str) -> None:
        self.outlet.close(code, reason)

    def _cut(self) -> None:
        self.outlet.cut()


class Poll(Stream):
    """One long poll while it waits."""

    __slots__ = ("rung",)

    def __init__(self, gateway: SessionGateway, hub: SessionHub, caller: Principal, types: Collection[str]) -> None:
        super().__init__(gateway, hub, caller, types)
        self.rung = asyncio.Event()
        """Set when an event came, or when there is nothing more to wait for."""
        self.write = self._ring

    def _ring(self, data: Any) -> None:
        self.rung.set()

    def push_lossy(self, kind: str, frame: bytes) -> None:
        """An answer tells what is in the log: it does not come for this."""

    def heartbeat(self) -> None:
        """Its answer will carry the heads."""

    def push_heads(self, heads: bytes) -> None:
        """So will it then."""

    def _hang_up(self, code: int, reason: str) -> None:
        self.rung.set()

    def _cut(self) -> None:
        self.rung.set()


class StreamHub(Hub):
    """Streams and polls by channel, and by user: one who named channels may not be on his own, and has to hear all
    the same that his access was taken away.
    """

    __slots__ = ("_by_user", "count")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._by_user: dict[str, dict[Stream, None]] = {}
        self.count = 0
        """Streams and polls open. (No ``__len__``: a hub without sessions must not be false.)"""

    def recipients(self, kind: str, channels: Iterable[str]) -> Collection[Session]:
        """As for sockets, without the streams that filter out events of type ``kind``."""
        found = super().recipients(kind, channels)
        return [session for session in found if isinstance(session, Stream) and session.wants(kind)]

    def deliver(self, recipients: Collection[Session], payload: bytes) -> None:
        """As for sockets. There are few streams, so this loop need not be as fast."""
        frame = self.frames.event(payload)
        for session in recipients:
            session.push_all((frame,))

    def attach(self, stream: Stream) -> None:
        """Note whose it is."""
        self._by_user.setdefault(stream.caller.id, {})[stream] = None
        self.count += 1

    def leave(self, session: Session, channels: Iterable[str]) -> None:
        """No more of them, and no more of him."""
        super().leave(session, channels)
        his = self._by_user.get(session.caller.id, {})
        if session in his:
            del his[session]
            self.count -= 1
        if not his:
            self._by_user.pop(session.caller.id, None)

    def of(self, user: str) -> list[Stream]:
        """His, the oldest first."""
        return list(self._by_user.get(user, ()))


class EventStreamResponse:
    """The way out of a stream: what its session writes, as the body of an HTTP answer without an end."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._pieces: list[bytes] = []
        self._wake = asyncio.Event()
        self._over = False
        self._pump: asyncio.Task[None] | None = None
        self._abort: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: Any) -> None:
        """Take one piece; the session gives no more before ``resume``."""
        self._pieces.append(bytes(data))
        self._wake.set()
        self._stream.pause()

    def close(self, code: int, reason: str) -> None:
        """Say why, and end. To one who does not read nothing can be said: he is cut at once."""
        self._pieces.append(sse.farewell(code, reason))
        self._over = True
        self._wake.set()
        wait = 0 if code == Close.TOO_SLOW else CLOSE_WAIT_S
        self._timer = asyncio.get_running_loop().call_later(wait, self.cut)

    def cut(self) -> None:
        """End at once, sent or not."""
        if self._abort is not None:
            self._abort()
        if self._pump is not None:
            self._pump.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header]) -> None:
        """Answer the request until one side has had enough. HEAD gets the headers alone."""
        if scope["method"] == "HEAD":
            self._pieces, self._over = [], True
        self._abort = scope.get("extensions", {}).get(ABORT)
        self._pump = asyncio.create_task(self._send(send, extra))
        away = asyncio.create_task(gone(receive))
        try:
            await asyncio.wait((self._pump, away), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stream.lost(GONE)
            if self._timer is not None:
                self._timer.cancel()
            away.cancel()
            self._pump.cancel()
            await asyncio.gather(away, self._pump, return_exceptions=True)

    async def _send(self, send: Send, extra: list[Header]) -> None:
        own = [(b"content-type", sse.MEDIA), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*own, *extra]})
            while not self._over or self._pieces:
                await self._wake.wait()
                self._wake.clear()
                body, self._pieces = b"".join(self._pieces), []
                await send({"type": "http.response.body", "body": body, "more_body": True})
                if not self._over and not self._pieces:
                    self._stream.resume()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Exception:  # the task's boundary: the answer has begun, so there is nobody to refuse
            log.exception("stream_failed", session=self._stream.id)


async def gone(receive: Receive) -> None:
    """Return when the client has gone. The body of a GET is nobody's."""
    while (await receive())["type"] != "http.disconnect":
        pass
