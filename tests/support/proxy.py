"""A TCP proxy between a client and Redis. To simulate a network that fails, it drops the replies that a test names."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit


class Proxy:
    """A proxy that forwards connections to ``target``. If ``drop_next`` is set, the proxy closes the connection in
    place of the next reply that contains these bytes. If ``drop_in`` is set, it forwards so many replies and closes the
    connection in place of the next. ``dropped`` counts the replies that it dropped. While ``flows`` is not set, replies
    wait in the proxy, and no connection is closed.
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
        self.url = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self.flows.set()
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set_target(self, target: str) -> None:
        """Change the target of new connections. Open connections remain connected to their old target."""
        parts = urlsplit(target)
        self._to = (parts.hostname or "127.0.0.1", parts.port or 6379)

    def cut(self) -> None:
        """Abort all open connections now."""
        for writer in self._writers:
            writer.transport.abort()

    @property
    def target_port(self) -> int:
        """Return the port of the target of new connections."""
        return self._to[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a new client to the target and forward in both directions until one of the two closes."""
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        both = [
            asyncio.create_task(self._forward(reader, up_writer, replies=False)),
            asyncio.create_task(self._forward(up_reader, writer, replies=True)),
        ]
        self._tasks |= set(both)
        with contextlib.suppress(Exception):
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, up_writer):
            end.transport.abort()
            self._writers.discard(end)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        """Forward bytes from ``reader`` to ``writer`` until the end, or until a reply must be dropped."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if replies and self._must_drop(data):
                    self.dropped += 1
                    return
                if replies:
                    await self.flows.wait()
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
