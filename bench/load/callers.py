"""Calls to a server with Redis' protocol, by several clients, one at a time or packed; and the time they took there.

The clients are plain sockets with commands packed beforehand, so that the load costs less than the work it causes. The
figure is the server's as long as ``busy``, the used share of the server's core, is near one.
"""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, cast

import hiredis

from bench.rig import BenchError, Child

CHUNK = 1 << 18


class Way(NamedTuple):
    """How calls are made: by how many clients, and how many each has in flight, sent in one write."""

    clients: int
    packed: int


class Taken(NamedTuple):
    """Calls that were answered, in how many seconds, of which the server computed how many."""

    calls: int
    elapsed_s: float
    server_s: float

    @property
    def per_second(self) -> float:
        return self.calls / self.elapsed_s

    @property
    def server_us(self) -> float:
        return self.server_s / self.calls * 1e6

    @property
    def busy(self) -> float:
        return self.server_s / self.elapsed_s


def command(*words: Any) -> bytes:
    """One command as it goes over the wire."""
    return cast("bytes", hiredis.pack_command(tuple(words)))


class Callers:
    """Clients of one server. ``close`` lets them go."""

    def __init__(self, server: Child, port: int) -> None:
        self.server = server
        self._port = port
        self._lines: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(self, words: bytes) -> Any:
        """The reply to one call. Raises BenchError when it is an error."""
        [reply] = await self.all(iter([words]))
        return reply

    async def all(self, calls: Iterator[bytes]) -> list[Any]:
        """The replies to many calls that nobody times, in order."""
        kept: list[Any] = []
        await self._client(0, calls, 64, math.inf, kept)
        return kept

    async def timed(
        self, calls: Iterator[bytes], way: Way, seconds: float = math.inf, kept: list[Any] | None = None
    ) -> Taken:
        """Make calls until the seconds are over or there are none left; their replies are put into ``kept``."""
        while len(self._lines) < way.clients:
            await self._connect()
        gc.collect()
        computed, began = self.server.cpu_s(), time.perf_counter()
        work = (self._client(number, calls, way.packed, began + seconds, kept) for number in range(way.clients))
        done = sum(await asyncio.gather(*work))
        return Taken(done, time.perf_counter() - began, self.server.cpu_s() - computed)

    async def _connect(self) -> None:
        self._lines.append(await asyncio.open_connection("127.0.0.1", self._port, limit=CHUNK))

    async def _client(self, number: int, calls: Iterator[bytes], packed: int, until: float, kept: Any) -> int:
        if number >= len(self._lines):
            await self._connect()
        reader, writer = self._lines[number]
        parser, done = hiredis.Reader(), 0
        while time.perf_counter() < until:
            batch = list(islice(calls, packed))
            if not batch:
                break
            writer.write(b"".join(batch))
            for _ in batch:
                while (reply := parser.gets()) is False:
                    parser.feed(await reader.read(CHUNK) or self._gone())
                if isinstance(reply, hiredis.ReplyError):
                    raise BenchError(f"{self.server.name}: {reply}")
                if kept is not None:
                    kept.append(reply)
            done += len(batch)
        return done

    async def close(self) -> None:
        """Close the connections."""
        for _, writer in self._lines:
            writer.close()
            await writer.wait_closed()

    def _gone(self) -> bytes:
        raise BenchError(f"{self.server.name} closed the connection: {self.server.complaint()}")
