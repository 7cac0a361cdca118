"""uvicorn's HTTP protocol, with limits on the size of a request's head and on the time until the request has arrived.

httptools collects a header of any length, and uvicorn waits for the rest of a request forever. So one connection could
fill the memory, and a few thousand connections that send a byte now and then could use up the descriptors. Both happen
before the application is called, so the limits are here. (Rejected: to leave this to a proxy in front, because
``callout serve`` runs without one.)
"""

from __future__ import annotations

import asyncio
from secrets import token_hex
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from engine.errors import TooLarge
from server.schemas import problems

MAX_HEAD_BYTES = 64 * 1024
"""The most bytes of a request's head, without the bytes of the read in which the head began: if several requests arrive
in one read, it is not known which bytes belong to which request.
"""
ABORT_EXTENSION = "callout.abort"
"""The key in ``scope["extensions"]`` of a function that aborts the connection, even with unsent bytes."""
ARRIVAL_EXTENSION = "callout.arrival"
"""The key of a function that extends the time for the request that is arriving, by the given seconds."""
MAX_REQUEST_ARRIVAL_S = 20.0
"""The most seconds from a connection's opening, or from a request's first byte, to the request's last byte."""


class CalloutHTTP(HttpToolsProtocol):
    """uvicorn's protocol object for HTTP/1.1, with the limits. A connection with a request that is too slow is aborted
    without a response, because its sender does not read either.
    """

    _arrival_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse ``data``. Count its bytes if they belong to a head that neither begins nor ends in ``data``."""
        before = self._in_head
        if self.cycle is None or self.cycle.response_complete:
            self._start_timer()
        super().data_received(data)
        if before and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def handle_websocket_upgrade(self) -> None:
        """Give the request and the connection to the WebSocket protocol. uvicorn's own method serialises the request,
        which would then be parsed a second time.
        """
        self._stop_timer()
        self.connections.discard(self)
        upgraded: Any = self.ws_protocol_class(self)  # type: ignore[misc, call-arg]
        self.transport.set_protocol(upgraded)
        upgraded.start(self)
        self.parser = None  # type: ignore[assignment]  # breaks a reference cycle

    # the parser's callbacks

    def on_message_begin(self) -> None:
        """Start the timer at a request's first byte, if it is not running."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Note the end of the head, and give the application a function to abort the connection. uvicorn has none, and
        a stream needs it for a client that does not read.
        """
        self._in_head = False
        extensions = {ABORT_EXTENSION: self.transport.abort, ARRIVAL_EXTENSION: self._extend_arrival}
        cast(dict[str, Any], self.scope)["extensions"] = extensions
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the timer at the request's last byte."""
        self._stop_timer()
        super().on_message_complete()

    def _start_timer(self) -> None:
        if self._arrival_timer is None:
            self._arrival_timer = self.loop.call_later(MAX_REQUEST_ARRIVAL_S, self.transport.abort)

    def _extend_arrival(self, seconds: float) -> None:
        """Give the request that arrives now more time. Does nothing if it has arrived."""
        if self._arrival_timer is not None:
            self._arrival_timer.cancel()
            self._arrival_timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._arrival_timer is not None:
            self._arrival_timer.cancel()
            self._arrival_timer = None

    def _refuse_head(self) -> None:
        if self.transport.is_closing():
            return
        request_id = token_hex(8)
        body = problems.encode_problem(
            TooLarge(f"Request line and headers: at most {MAX_HEAD_BYTES} bytes"), request_id
        )
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
