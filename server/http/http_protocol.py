"""The way in for HTTP: uvicorn's protocol, with a bound on a request's head and on how long it may take to arrive.

httptools gathers a header for as long as it comes, and uvicorn waits for the rest of a request for ever: one
connection could fill the memory, and a few thousand that send a byte now and then use up the descriptors. Both
happen before any of our code is asked, so they are bounded here. (Rejected: leaving it to a proxy in front;
``callout serve`` runs without one.)
"""

from __future__ import annotations

import asyncio
from secrets import token_hex
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from engine.errors import TooLarge
from server.schemas import problems

HEAD_BYTES = 64 * 1024
"""Beside what one reading brings: where requests share a piece, whose bytes they are is not known."""
ABORT = "callout.abort"
"""Where an application finds a function that cuts the connection, unsent bytes and all, in ``scope["extensions"]``."""
ARRIVAL_S = 20.0
"""From a connection's opening, or a request's first byte, to the request's last one."""


class CalloutHTTP(HttpToolsProtocol):
    """uvicorn's HTTP/1.1. A request that is too slow is cut without a word: its sender is not reading either."""

    _arrival: asyncio.TimerHandle | None = None
    _in_head = False
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request is expected."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; what only makes an unfinished head longer is counted."""
        before = self._in_head
        if self.cycle is None or self.cycle.response_complete:
            self._expect()
        super().data_received(data)
        if before and self._in_head:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self._turn_away()

    def handle_websocket_upgrade(self) -> None:
        """The connection is another protocol's from here on."""
        self._arrived()
        super().handle_websocket_upgrade()

    # the parser's callbacks

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        self._expect()

    def on_headers_complete(self) -> None:
        """The end of its head. uvicorn leaves an application no way to cut one who does not read: a stream needs it."""
        self._in_head = False
        cast(dict[str, Any], self.scope)["extensions"] = {ABORT: self.transport.abort}
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Its last byte."""
        self._arrived()
        super().on_message_complete()

    def _expect(self) -> None:
        if self._arrival is None:
            self._arrival = self.loop.call_later(ARRIVAL_S, self.transport.abort)

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _turn_away(self) -> None:
        if self.transport.is_closing():
            return
        request_id = token_hex(8)
        body = problems.encode(TooLarge(f"Request line and headers: at most {HEAD_BYTES} bytes"), request_id)
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", problems.MEDIA_TYPE),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            problems.NOSNIFF,
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 413 Content Too Large\r\n%b\r\n%b" % (lines, body))
        self.transport.close()
