"""Call a server that uses Redis' protocol, with several clients, and measure the server's processor time.

The clients are plain sockets with commands packed beforehand, so that the load costs less than the work it causes. The
figure is the server's own limit as long as ``server_share``, the used part of the server's core, is near one.
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

READ_BYTES = 1 << 18


class CallPattern(NamedTuple):
    """How calls are made: the number of clients, and how many calls each has in flight, sent in one write."""

    clients: int
    in_flight: int


class CallTiming(NamedTuple):
    """The number of calls with a reply, the seconds of the whole run, and the processor seconds that the server
    used.
    """

    calls: int
    elapsed_s: float
    server_cpu_s: float

    @property
    def per_second(self) -> float:
        return self.calls / self.elapsed_s

    @property
    def server_us(self) -> float:
        return self.server_cpu_s / self.calls * 1e6

    @property
    def server_share(self) -> float:
        return self.server_cpu_s / self.elapsed_s


def pack_command(*parts: Any) -> bytes:
    """Return a Redis command, whose name and arguments are ``parts``, in Redis' wire format."""
    return cast("bytes", hiredis.pack_command(tuple(parts)))


class RedisClients:
    """Clients of one server. The caller closes them."""

    def __init__(self, server: Child, port: int) -> None:
        self.server = server
        self._port = port
        self._connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, command: bytes) -> Any:
        """Send one Redis command, packed by ``pack_command``, and return its reply. Raise BenchError if the reply is an
        error.
        """
        [reply] = await self.call_all(iter([command]))
        return reply

    async def call_all(self, calls: Iterator[bytes]) -> list[Any]:
        """Return the replies to many calls, in order, without measuring the time."""
        replies: list[Any] = []
        await self._run_client(0, calls, 64, math.inf, replies)
        return replies

    async def time_calls(
        self, calls: Iterator[bytes], pattern: CallPattern, seconds: float = math.inf, replies: list[Any] | None = None
    ) -> CallTiming:
        """Make calls until ``seconds`` are over or no calls are left, and return the timing. Replies are appended to
        ``replies`` if a list is passed.
        """
        while len(self._connections) < pattern.clients:
            await self._connect()
        gc.collect()
        computed, began = self.server.cpu_s(), time.perf_counter()
        work = (
            self._run_client(number, calls, pattern.in_flight, began + seconds, replies)
            for number in range(pattern.clients)
        )
        call_count = sum(await asyncio.gather(*work))
        return CallTiming(call_count, time.perf_counter() - began, self.server.cpu_s() - computed)

    async def _connect(self) -> None:
        self._connections.append(await asyncio.open_connection("127.0.0.1", self._port, limit=READ_BYTES))

    async def _run_client(
        self, number: int, calls: Iterator[bytes], in_flight: int, end_time: float, replies: Any
    ) -> int:
        if number >= len(self._connections):
            await self._connect()
        reader, writer = self._connections[number]
        parser, call_count = hiredis.Reader(), 0
        while time.perf_counter() < end_time:
            batch = list(islice(calls, in_flight))
            if not batch:
                break
            writer.write(b"".join(batch))
            for _ in batch:
                while (reply := parser.gets()) is False:
                    parser.feed(await reader.read(READ_BYTES) or self._raise_closed())
                if isinstance(reply, hiredis.ReplyError):
                    raise BenchError(f"{self.server.name}: {reply}")
                if replies is not None:
                    replies.append(reply)
            call_count += len(batch)
        return call_count

    async def close(self) -> None:
        """Close the connections."""
        for _, writer in self._connections:
            writer.close()
            await writer.wait_closed()

    def _raise_closed(self) -> bytes:
        raise BenchError(f"{self.server.name} closed the connection: {self.server.error_log()}")
