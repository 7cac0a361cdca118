"""A pooler between clients and PostgreSQL that gives each transaction the connection that was idle longest, as
PgBouncer with ``pool_mode=transaction`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from pathlib import Path

MAX_SERVERS = 3
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class TransactionPooler:
    """A Unix socket whose clients share at most ``MAX_SERVERS`` connections to the server behind ``behind``."""

    def __init__(self, folder: Path, behind: Path) -> None:
        self.folder, self._behind = folder, str(behind / ".s.PGSQL.5432")
        self.most_per_client = 0
        """The largest number of connections that one client has used."""
        self._idle: deque[Stream] = deque()
        self._count = 0
        self._greeting = b""
        self._freed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accept clients."""
        self._server = await asyncio.start_unix_server(self._serve, self.folder / ".s.PGSQL.5432")

    async def close(self) -> None:
        """Close all connections and remove the socket."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, writer in self._idle:
            writer.transport.abort()
        os.unlink(self.folder / ".s.PGSQL.5432")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve_client(reader, writer)
        writer.transport.abort()
        self._tasks.discard(task)

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        startup = await _read_startup(reader)
        await self._release(await self._take(startup))
        writer.write(self._greeting)
        used: set[int] = set()
        coming = asyncio.create_task(_read_message(reader))
        while True:
            kind, message = await coming
            if kind == b"X":
                return
            server = await self._take(startup)
            used.add(id(server[1]))
            self.most_per_client = max(self.most_per_client, len(used))
            answers = asyncio.create_task(_forward_until_idle(server[0], writer))
            server[1].write(message)
            coming = asyncio.create_task(_read_message(reader))
            while not answers.done():
                await asyncio.wait((coming, answers), return_when=asyncio.FIRST_COMPLETED)
                if coming.done() and not answers.done():
                    server[1].write(coming.result()[1])
                    coming = asyncio.create_task(_read_message(reader))
            await self._release(server)

    async def _take(self, startup: bytes) -> Stream:
        async with self._freed:
            if (not self._idle and self._count < MAX_SERVERS) or (self._count < MAX_SERVERS and self._greeting):
                self._count += 1
                reader, writer = await asyncio.open_unix_connection(self._behind)
                writer.write(startup)
                greeting, kind = b"", b""
                while kind != b"Z":
                    kind, message = await _read_message(reader)
                    greeting += message
                self._greeting = greeting
                return reader, writer
            await self._freed.wait_for(lambda: self._idle)
            return self._idle.popleft()

    async def _release(self, server: Stream) -> None:
        async with self._freed:
            self._idle.append(server)
            self._freed.notify()


async def _read_startup(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length) - 4)


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


async def _forward_until_idle(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    """Forward the server's messages up to ReadyForQuery outside a transaction."""
    while True:
        kind, message = await _read_message(reader)
        client.write(message)
        if kind == b"Z" and message[5:] == b"I":
            return
