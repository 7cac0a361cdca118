"""HTTP clients for tests: httpx with a transport of a few lines.

The tests send some ten thousand requests. httpx's own transport costs three times the CPU time of this one, and each
new client would load all certificates of the machine.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterable
from typing import Any

import httptools
import httpx


def open_http(url: str = "", *, timeout_s: float = 20.0) -> httpx.AsyncClient:
    """Return a client that keeps its connections open, and ignores the environment's proxies."""
    return httpx.AsyncClient(base_url=url, timeout=timeout_s, transport=Transport(), trust_env=False)


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over HTTP/1.1 without TLS, and reads each response to its end before it is returned."""

    def __init__(self) -> None:
        self._idle: defaultdict[tuple[str, int], list[_Connection]] = defaultdict(list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request on an idle connection, or on a new one. Raises the errors of httpx."""
        address = (request.url.host, request.url.port or 80)
        timeouts = request.extensions["timeout"]
        connection = self._take_idle(address) or await self._connect(address, timeouts["connect"])
        chunks = [chunk async for chunk in request.stream] if isinstance(request.stream, AsyncIterable) else []
        if "transfer-encoding" in request.headers:
            chunks = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*filter(None, chunks), b""]]
        lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
        lines += [b"%s: %s" % header for header in request.headers.raw]
        try:
            async with asyncio.timeout(timeouts["read"]):
                response = await connection.send(
                    b"\r\n".join([*lines, b"", b"".join(chunks)]), is_head=request.method == "HEAD"
                )
        except TimeoutError:
            connection.close()
            raise httpx.ReadTimeout("no response in time", request=request) from None
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable:
            self._idle[address].append(connection)
        else:
            connection.close()
        return response

    def _take_idle(self, address: tuple[str, int]) -> _Connection | None:
        connections = self._idle[address]
        while connections:
            if (connection := connections.pop()).is_reusable:
                return connection
        return None

    async def _connect(self, address: tuple[str, int], timeout_s: float | None) -> _Connection:
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(_Connection, *address)
        except TimeoutError:
            raise httpx.ConnectTimeout("no connection in time") from None
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        return connection

    async def aclose(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()


class _Connection(asyncio.Protocol):
    """One connection, with at most one request at a time."""

    def __init__(self) -> None:
        self.is_reusable = False
        self._waiter: asyncio.Future[httpx.Response] | None = None
        self._is_head = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    async def send(self, message: bytes, *, is_head: bool) -> httpx.Response:
        """Send a request and return its response. Raises httpx.ReadError if the connection ends before."""
        self.is_reusable, self._is_head = False, is_head
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._waiter

    def close(self) -> None:
        self.is_reusable = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(httpx.RemoteProtocolError(str(error)))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_reusable = False
        self._end(httpx.ReadError(str(error or "the connection was closed")))

    def _end(self, error: Exception) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(error)

    # the parser's callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_head:
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._waiter and not self._waiter.done():
            self.is_reusable = self._parser.should_keep_alive()
            status, body = self._parser.get_status_code(), b"".join(self._chunks)
            stream = httpx.ByteStream(body)
            self._waiter.set_result(
                httpx.Response(status, headers=self._headers, stream=stream, extensions={"http_version": b"HTTP/1.1"})
            )
