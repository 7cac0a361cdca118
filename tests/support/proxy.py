"""A TCP proxy in front of Redis, PostgreSQL or a server of Callout. It simulates a network that fails: it drops replies
that a test names, delays what it forwards, or swallows one direction.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal
from urllib.parse import urlsplit

Direction = Literal["requests", "replies"]


class Proxy:
    """A proxy that forwards connections to ``target``. ``drop_next``: close the connection in place of the next reply
    that contains these bytes. ``drop_in``: forward this number of replies, and close the connection in place of the
    next one. ``dropped``: how many replies were dropped. ``delay_s``: how long everything is delayed. ``swallows``:
    bytes in this direction never arrive, and no connection is closed. ``refuses``: new connections are closed at once.
    ``flows``: while it is not set, replies wait in the proxy.
    """

    def __init__(self, target: str) -> None:
        self.set_target(target)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.drop_next: bytes | None = None
        self.drop_in: int | None = None
        self.dropped = 0
        self.flows = asyncio.Event()
        self.flows.set()
        self.delay_s = 0.0
        self.swallows: Direction | None = None
        self.refuses = False
        self.port = 0

    @property
    def url(self) -> str:
        """Return the address of the proxy as that of a Redis; "" before it listens."""
        return f"redis://127.0.0.1:{self.port}" if self.port else ""

    @property
    def target_port(self) -> int:
        """Return the port of the target of new connections."""
        return self._to[1]

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self.flows.set()
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set_target(self, target: str) -> None:
        """Change the target of new connections: the URL of a TCP port, or ``unix:`` and the path of a socket. Open
        connections remain connected to their old target.
        """
        parts = urlsplit(target)
        self._path = parts.path if parts.scheme == "unix" else ""
        self._to = (parts.hostname or "127.0.0.1", parts.port or 6379)

    def cut(self) -> None:
        """Abort all open connections now."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await (asyncio.open_unix_connection(self._path) if self._path else asyncio.open_connection(*self._to))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a new client to the target and forward in both directions until one of the two closes."""
        try:
            if self.refuses:
                raise ConnectionRefusedError
            up_reader, up_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        both = [
            asyncio.create_task(self._forward(reader, up_writer, "requests")),
            asyncio.create_task(self._forward(up_reader, writer, "replies")),
        ]
        self._tasks |= set(both)
        with contextlib.suppress(Exception):
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, up_writer):
            end.transport.abort()
            self._writers.discard(end)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        """Forward bytes from ``reader`` to ``writer`` until the end, or until a reply must be dropped."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if direction == "replies" and self._must_drop(data):
                    self.dropped += 1
                    return
                if direction == "replies":
                    await self.flows.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.swallows == direction:
                    continue
                writer.write(data)
                await writer.drain()

    def _must_drop(self, data: bytes) -> bool:
        """Return whether this reply must be dropped, and count down ``drop_in``."""
        if self.drop_next is not None and self.drop_next in data:
            self.drop_next = None
            return True
        if self.drop_in is None:
            return False
        countdown, self.drop_in = self.drop_in, self.drop_in - 1 if self.drop_in else None
        return countdown == 0
