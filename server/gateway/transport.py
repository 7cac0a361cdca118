"""The handshake of a WebSocket, after which the session owns the transport.

The handshake uses ASGI, so that plain ASGI middleware processes it like any request. The frames do not, because ASGI
would cost a coroutine, a queue, the scope and its headers for each idle connection (28 KiB measured), and three awaits
for each frame sent. So the application *attaches* a session and returns. Then everything of the handshake is dropped,
and a ``Connection`` with slots replaces it as the transport's protocol. (Rejected: a WebSocket server of our own beside
uvicorn's. It would need two listeners, two shutdowns and two sets of middleware.)

uvicorn parses the request in C. (Rejected: uvicorn's own WebSocket protocol. It writes the parsed request out again and
parses it a second time in Python, which was the largest part of the cost of a connection.)
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import structlog
from starlette.types import Message, Scope
from uvicorn.protocols.utils import ClientDisconnected

from server.gateway.connection import MAX_MESSAGE_BYTES, Connection, Receiver
from server.http.http_protocol import CalloutHTTP

ATTACH_EXTENSION = "callout.attach"
"""The key of ``attach`` in ``scope["extensions"]``."""

MAX_EARLY_BYTES = MAX_MESSAGE_BYTES + 14
"""How many bytes a client may send before its session is attached: one frame of the largest size. A correct client
sends nothing before that.
"""
MAX_HEADERS = 128
MAX_LINE_BYTES = 8 * 1024
"""The most bytes of the request's target, and of one header's value."""

_SINGLE_HEADERS = (b"sec-websocket-key", b"sec-websocket-version", b"origin")
"""The headers that a request may have only once."""
_WEBSOCKET_KEY_PATTERN = re.compile(rb"[A-Za-z0-9+/]{22}==")
_WEBSOCKET_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Attach = Callable[[Receiver], Connection]

log = structlog.get_logger(__name__)


class CalloutWebSocket(asyncio.Protocol):
    """The connection from the upgrade request until a session is attached or the request is refused.

    An application that accepts the WebSocket must call ``attach`` before it returns.
    """

    def __init__(self, http: CalloutHTTP) -> None:
        self.early_bytes = b""
        self._transport = http.transport
        self._connections = cast("set[Any]", http.connections)
        self._accept_key = b""
        self._refusal: tuple[int, Iterable[tuple[bytes, bytes]]] | None = None
        self._accepted = self._answered = self._attached = self._lost = False
        self._connections.add(self)

    def start(self, http: CalloutHTTP) -> None:
        """Answer the request that ``http`` has parsed: as a task that runs the application, or at once if the request
        is not a valid handshake.
        """
        status = handshake_error(http)
        if status is not None:
            self._respond(status, [(b"allow", b"GET")] if status is HTTPStatus.METHOD_NOT_ALLOWED else [], b"")
            self._transport.close()
            return
        key = next(value for name, value in http.headers if name == b"sec-websocket-key").strip()
        self._accept_key = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_KEY_SUFFIX).digest())
        task = http.loop.create_task(self._run(http.app, self._websocket_scope(http)))
        http.tasks.add(task)
        task.add_done_callback(http.tasks.discard)

    def _websocket_scope(self, http: CalloutHTTP) -> Scope:
        raw_path, _, query = http.url.partition(b"?")
        offered = b",".join(value for name, value in http.headers if name == b"sec-websocket-protocol")
        return {
            **http.scope,
            "type": "websocket",
            "scheme": "wss" if http.scheme == "https" else "ws",
            "path": http.root_path + unquote(raw_path.decode("latin-1")),
            "raw_path": http.root_path.encode() + raw_path,
            "query_string": query,
            "subprotocols": [name.strip() for name in offered.decode("latin-1").split(",")] if offered else [],
            "extensions": {"websocket.http.response": {}, ATTACH_EXTENSION: self.attach},
        }

    async def _run(self, app: Callable[..., Any], scope: Scope) -> None:
        """Run the application for the handshake only. If it attached a session, the connection stays open when the
        application returns.
        """
        try:
            await app(scope, self._receive, self._send)
        except ClientDisconnected:
            pass
        except Exception:  # the task's boundary
            log.exception("handshake_failed")
        finally:
            if not self._attached:
                if not self._answered:
                    self._respond(HTTPStatus.INTERNAL_SERVER_ERROR, [], b"")
                self._transport.close()

    async def _receive(self) -> Message:
        return {"type": "websocket.connect"}

    async def _send(self, message: Message) -> None:
        """Send the application's answer: accept, close (403), or a response in one start and one body."""
        if self._lost:
            raise ClientDisconnected
        kind = message["type"]
        if self._answered:
            raise RuntimeError(f"{kind} after the answer to the handshake")
        if kind == "websocket.accept":
            self._answered = self._accepted = True
            subprotocol = message.get("subprotocol")
            chosen = b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode() if subprotocol else b""
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (self._accept_key, chosen)
            )
        elif kind == "websocket.close":
            self._respond(HTTPStatus.FORBIDDEN, [], b"")
        elif kind == "websocket.http.response.start":
            self._refusal = message["status"], message["headers"]
        elif self._refusal is not None:
            self._respond(*self._refusal, message["body"])

    def _respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send an HTTP response, which refuses the WebSocket."""
        self._answered = True
        own = [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
        lines = b"".join(b"%b: %b\r\n" % header for header in (*headers, *own))
        phrase = HTTPStatus(status).phrase.encode()
        self._transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, phrase, lines, body))

    def attach(self, receiver: Receiver) -> Connection:
        """Give the transport to ``receiver``, once, after ``websocket.accept`` was sent.

        Raises RuntimeError on a second call, and before ``websocket.accept``: no frame may be written before the
        response 101.
        """
        if not self._accepted or self._attached or self._lost:
            raise RuntimeError("attach once, after websocket.accept, while the client is connected")
        self._attached = True
        connection = Connection(self._transport, receiver, self._connections, self.early_bytes)
        self._connections.discard(self)
        self._connections.add(connection)
        self._transport.set_protocol(connection)
        if self.early_bytes:
            asyncio.get_running_loop().call_soon(connection.data_received, b"")
        return connection

    def shutdown(self) -> None:
        """Refuse and close at once. uvicorn calls this when the server stops."""
        if not self._answered:
            self._respond(HTTPStatus.SERVICE_UNAVAILABLE, [], b"")
        self._transport.close()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Store frames that arrive before the session is attached."""
        if len(self.early_bytes) + len(data) > MAX_EARLY_BYTES:
            return self._transport.abort()
        self.early_bytes += data
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone: the application's next message raises ClientDisconnected."""
        self._lost = self._answered = True
        self._connections.discard(self)


def handshake_error(http: CalloutHTTP) -> HTTPStatus | None:
    """Return the status that refuses a request which is not a handshake of RFC 6455 (§4.2.1), None for a handshake.
    uvicorn has checked ``Upgrade`` and ``Connection``.
    """
    if http.scope["method"] != "GET":
        return HTTPStatus.METHOD_NOT_ALLOWED
    if http.scope["http_version"] != "1.1":
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    headers = http.headers
    values = dict(headers)
    names = [name for name, _ in headers] if len(values) < len(headers) else []
    is_valid = (
        len(headers) <= MAX_HEADERS
        and max(len(http.url), *map(len, values.values())) <= MAX_LINE_BYTES
        and all(names.count(name) <= 1 for name in _SINGLE_HEADERS)
        and _WEBSOCKET_KEY_PATTERN.fullmatch(values.get(b"sec-websocket-key", b"").strip()) is not None
        and values.get(b"sec-websocket-version", b"").strip() == b"13"
        and values.get(b"content-length", b"0").strip() == b"0"
        and b"transfer-encoding" not in values
    )
    return None if is_valid else HTTPStatus.BAD_REQUEST
