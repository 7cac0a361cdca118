"""A TCP proxy that drops replies on demand, to test with a network that fails."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit


class Proxy:
    """Forwards to ``target``. ``drop_next`` closes the connection in place of the next reply that contains these bytes;
    ``drop_in`` closes it in place of the reply that comes after so many others.
    """

    def __init__(self, target: str) -> None:
        self.set_target(target)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.drop_next: bytes | None = None
        self.drop_in: int | None = None
        self.dropped = 0
        self.url = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set_target(self, target: str) -> None:
        """Change the target of new connections. Connections that are open keep their target."""
        parts = urlsplit(target)
        self._to = (parts.hostname or "127.0.0.1", parts.port or 6379)

    def cut(self) -> None:
        """Abort every connection now."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._to)
        self._writers |= {writer, up_writer}
        both = [
            asyncio.create_task(self._pump(reader, up_writer, replies=False)),
            asyncio.create_task(self._pump(up_reader, writer, replies=True)),
        ]
        self._tasks |= set(both)
        with contextlib.suppress(Exception):
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, up_writer):
            end.transport.abort()
            self._writers.discard(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if replies and self._drops(data):
                    self.dropped += 1
                    return
                writer.write(data)
                await writer.drain()

    def _drops(self, data: bytes) -> bool:
        if self.drop_next is not None and self.drop_next in data:
            self.drop_next = None
            return True
        if self.drop_in is None:
            return False
        left, self.drop_in = self.drop_in, self.drop_in - 1 if self.drop_in else None
        return left == 0
