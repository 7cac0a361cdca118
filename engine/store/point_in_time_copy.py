"""Read a copy of everything that a Redis has at one instant, while it serves.

The server sends the copy as it does to a new replica: it forks, and sends its state in the RDB format. Meanwhile it
continues to run commands. (Rejected: to copy the files of the append-only file. A rewrite may replace them meanwhile,
and a Redis on another host has them elsewhere.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hiredis

from engine.errors import Unavailable
from engine.store.redis_url import parse_url
from engine.store.sentinel import find_primary

TIMEOUT_S = 60.0
"""How long the server may send nothing: it writes the copy to its disk first."""
CHUNK_BYTES = 1 << 20
EOF_MARK_BYTES = 40


async def save_copy(url: str, path: Path) -> int:
    """Write the state of the Redis at ``url`` to ``path``, in the RDB format. Return its size in bytes.

    Raises Unavailable if the server cannot be reached, refuses to send its state, or stops sending.
    """
    try:
        reader, writer = await _connect(url)
        try:
            await _authenticate(reader, writer, url)
            writer.write(hiredis.pack_command(("SYNC",)))
            return await _receive(reader, path)
        finally:
            writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise Unavailable(f"Redis sent no copy of its state: {error or type(error).__name__}") from error


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = parse_url(url)
    async with asyncio.timeout(TIMEOUT_S):
        if parts.kind == "unix":
            return await asyncio.open_unix_connection(parts.path)
        host, port = await find_primary(parts.nodes, parts.path) if parts.kind == "sentinel" else parts.nodes[0]
        return await asyncio.open_connection(host, port, ssl=parts.tls)


async def _authenticate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
    parts = parse_url(url)
    if not parts.password:
        return
    words: Any = ("AUTH", *([parts.user] if parts.user else []), parts.password)
    writer.write(hiredis.pack_command(words))
    reply = await _read_line(reader)
    if not reply.startswith(b"+OK"):
        raise Unavailable(f"Redis refuses the password: {reply.decode(errors='replace')}")


async def _receive(reader: asyncio.StreamReader, path: Path) -> int:
    """Receive the state: ``$<length>`` and as many bytes, or ``$EOF:<mark>`` and everything up to the mark."""
    while not (head := await _read_line(reader)):
        pass  # an empty line says that the server is still working
    if not head.startswith(b"$"):
        raise Unavailable(f"Redis sends no copy of its state: {head.decode(errors='replace')}")
    with path.open("wb") as file:
        if head.startswith(b"$EOF:"):
            return await _receive_until(reader, file.write, head.removeprefix(b"$EOF:"))
        left = size = int(head[1:])
        while left:
            async with asyncio.timeout(TIMEOUT_S):
                chunk = await reader.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise Unavailable("Redis stopped sending the copy of its state")
            file.write(chunk)
            left -= len(chunk)
    return size


async def _receive_until(reader: asyncio.StreamReader, write: Callable[[bytes], int], mark: bytes) -> int:
    size, tail = 0, b""
    while not tail.endswith(mark):
        async with asyncio.timeout(TIMEOUT_S):
            chunk = await reader.read(CHUNK_BYTES)
        if not chunk:
            raise Unavailable("Redis stopped sending the copy of its state")
        tail += chunk
        size += write(tail[:-EOF_MARK_BYTES])
        tail = tail[-EOF_MARK_BYTES:]
    return size


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(TIMEOUT_S):
        line = await reader.readline()
    if not line:
        raise Unavailable("Redis closed the connection")
    return line.strip()
