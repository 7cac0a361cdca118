"""uvicorn's WebSocket handshake, after which the session owns the transport.

The handshake uses ASGI, so that plain ASGI middleware processes it like any request. The frames do not, because ASGI
would cost a coroutine, a queue, the scope and its headers for each idle connection (28 KiB measured), and three awaits
for each frame sent. So the application *attaches* a session and returns. Then everything of the handshake is dropped,
and a ``Connection`` with slots replaces it as the transport's protocol. (Rejected: a WebSocket server of our own beside
uvicorn's. It would need two listeners, two shutdowns and two sets of middleware.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from server.gateway.connection import MAX_MESSAGE_BYTES, Connection, Receiver

ATTACH_EXTENSION = "callout.attach"
"""The key of ``attach`` in ``scope["extensions"]``."""

MAX_EARLY_BYTES = MAX_MESSAGE_BYTES + 14
"""How many bytes a client may send before its session is attached: one frame of the largest size. A correct client
sends nothing before that.
"""

Attach = Callable[[Receiver], Connection]


class CalloutWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol up to the response 101. An application that accepts the WebSocket must call ``attach`` before
    it returns.
    """

    attached = False
    early_bytes = b""

    def data_received(self, data: bytes) -> None:
        """Pass the request to the handshake. Store frames that arrive before the session is attached."""
        if not self.handshake_initiated:
            super().data_received(data)
            if not self.handshake_initiated:
                self._refuse_request()
        elif len(self.early_bytes) + len(data) <= MAX_EARLY_BYTES:
            self.early_bytes += data
        else:
            self.transport.abort()

    def _refuse_request(self) -> None:
        """Send 400 and close. The request is complete, but the handshake's parser refused it (a body, too many headers
        or headers that are too long). The parser reads no further, and nothing else would close the connection.
        """
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()

    async def run_asgi(self) -> None:
        """Run the application for the handshake only. If it attached a session, the connection stays open when the
        application returns.
        """
        cast(dict[str, Any], self.scope["extensions"])[ATTACH_EXTENSION] = self.attach
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
            self.send_500_response()
        else:
            if not (self.handshake_complete or self.close_sent):
                self.logger.error("ASGI callable returned without completing handshake.")
                self.send_500_response()
        if self.attached:
            self._drop_handshake()
        elif self.close_timer is None:
            self.transport.close()

    def attach(self, receiver: Receiver) -> Connection:
        """Give the transport to ``receiver``, once, after ``websocket.accept`` was sent.

        Raises RuntimeError on a second call, and before ``websocket.accept``: no frame may be written before the
        response 101.
        """
        if not self.handshake_complete or self.attached or self.disconnected or self.close_sent:
            raise RuntimeError("attach once, after websocket.accept and before any close")
        self.attached = True
        connection = Connection(self.transport, receiver, self.connections, self.early_bytes)
        self.connections.discard(self)
        cast(set[Any], self.connections).add(connection)
        self.transport.set_protocol(connection)
        if self.early_bytes:
            self.loop.call_soon(connection.data_received, b"")
        return connection

    def _drop_handshake(self) -> None:
        """Drop the handshake's request, scope, queue and parser: they are never needed again."""
        tasks = self.tasks
        self.__dict__.clear()
        self.tasks = tasks
