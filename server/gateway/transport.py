"""The way in: uvicorn's WebSocket handshake, after which the session owns the transport.

The handshake goes through ASGI, so that plain ASGI middleware sees it like any request. What comes after
would be dear there: a coroutine, a queue, the scope and its headers for each idle connection (28 KiB
measured), and three awaits for each frame sent. So the application *attaches* a session, returns, and
everything of the handshake is dropped: a ``Connection`` with slots takes its place as the transport's
protocol. (Rejected: a WebSocket server of our own beside uvicorn's. Two listeners, two shutdowns, two
sets of middleware.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from server.gateway.connection import MESSAGE_BYTES, Connection, Receiver

EXTENSION = "callout.attach"
"""Where the application finds ``attach`` in ``scope["extensions"]``."""

EARLY_BYTES = MESSAGE_BYTES + 14
"""What a client may send before it is attached: one frame of the largest size. A proper one sends nothing."""

Attach = Callable[[Receiver], Connection]


class CalloutWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol up to the 101. An application that accepts must attach before it returns."""

    attached = False
    early = b""

    def data_received(self, data: bytes) -> None:
        """The request goes to the handshake; frames that follow too early wait for the session."""
        if not self.handshake_initiated:
            super().data_received(data)
            if not self.handshake_initiated:
                self._turn_away()
        elif len(self.early) + len(data) <= EARLY_BYTES:
            self.early += data
        else:
            self.transport.abort()

    def _turn_away(self) -> None:
        """The request came whole, and the handshake's parser would not have it (a body, too many headers or too long
        ones): it reads no more, and nobody else would ever end the connection.
        """
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()

    async def run_asgi(self) -> None:
        """Run the application for the handshake alone; an attached connection stays open when it returns."""
        cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self.attach
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
            self._forget()
        elif self.close_timer is None:
            self.transport.close()

    def attach(self, receiver: Receiver) -> Connection:
        """Hand the transport to ``receiver``, once, after ``websocket.accept`` was sent.

        Raises RuntimeError before that: nothing may be written ahead of the 101.
        """
        if not self.handshake_complete or self.attached or self.disconnected or self.close_sent:
            raise RuntimeError("attach once, after websocket.accept and before any close")
        self.attached = True
        connection = Connection(self.transport, receiver, self.connections, self.early)
        self.connections.discard(self)
        cast(set[Any], self.connections).add(connection)
        self.transport.set_protocol(connection)
        if self.early:
            self.loop.call_soon(connection.data_received, b"")
        return connection

    def _forget(self) -> None:
        """Drop the handshake: the request, the scope, the queue and the parser are never needed again."""
        tasks = self.tasks
        self.__dict__.clear()
        self.tasks = tasks
