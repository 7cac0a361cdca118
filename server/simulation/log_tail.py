"""Read the zone's log during a run. After a long run the first entries are no longer in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import redis.asyncio as redis

from callout_client import Unreachable
from engine.events import Event
from engine.types import DEFAULT_ZONE
from engine.zone import log
from server.simulation.delivery_checker import LogIndex

HOLDER_EVENTS = frozenset({"job.accepted", "job.assigned", "job.unassigned"})
MAX_READ_EVENTS = 500
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class LogTail:
    """A reader that indexes the log. The index begins at the head of the log at the start of the run."""

    def __init__(self, client: redis.Redis, head: int) -> None:
        self.index = LogIndex()
        self.index.last_seq = head
        self._client = client

    async def read_forever(self) -> None:
        """Read until cancelled. Raises Unreachable if Redis cannot be read."""
        while True:
            await self._read_once(block_ms=1000)

    async def catch_up(self) -> int:
        """Read up to the current head and return its seq. Raises Unreachable if Redis cannot be read."""
        head = await _read_head(self._client)
        while self.index.last_seq < head:
            await self._read_once(block_ms=10)
        return head

    async def _read_once(self, block_ms: int) -> None:
        after = self.index.last_seq
        with _convert_redis_errors():
            events = await log.wait_for_events(self._client, {DEFAULT_ZONE: after}, block_ms, MAX_READ_EVENTS)
        for event in events:
            if event.seq > self.index.last_seq:
                data = _decode(event.data) if event.type in HOLDER_EVENTS else {}
                self.index.add_entry(event.seq, event.type, event.to, data)


async def _read_head(client: redis.Redis) -> int:
    with _convert_redis_errors():
        return (await log.read_head(client, DEFAULT_ZONE)).seq


def _return_unchanged(response: Any, **_: Any) -> Any:
    return response


@contextmanager
def _convert_redis_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise Unreachable(f"the log cannot be read: {error}") from error


async def follow_log(url: str, after: int, take: Callable[[Event], None]) -> None:
    """Call ``take`` with each entry above the seq ``after`` (0: with the entries to come), until cancelled. Raises
    Unreachable if Redis cannot be read.
    """
    client = _open_client(url)
    try:
        after = after or await _read_head(client)
        while True:
            with _convert_redis_errors():
                events = await log.wait_for_events(client, {DEFAULT_ZONE: after}, 1000, MAX_READ_EVENTS)
            for event in events:
                if event.seq > after:
                    after = event.seq
                    take(event)
    finally:
        await client.aclose()


def _open_client(url: str) -> redis.Redis:
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=None)
    client.set_response_callback("XREAD", _return_unchanged)
    return client


@asynccontextmanager
async def open_log_tail(url: str) -> AsyncIterator[LogTail]:
    """Yield a LogTail that reads in the background while the block runs. Raises Unreachable if Redis cannot be read."""
    client = _open_client(url)
    try:
        tail = LogTail(client, await _read_head(client))
        read_task = asyncio.create_task(tail.read_forever())
        try:
            yield tail
        finally:
            read_task.cancel()
            await asyncio.gather(read_task, return_exceptions=True)
    finally:
        await client.aclose()
