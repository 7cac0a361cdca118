"""Connections that only read: one for each reader that tails logs, and one for all other plain reads.

Both read only from the server that runs the commands (``Store`` checks each new connection). A primary that was
replaced but still runs would otherwise serve outdated data for hours.

redis-py's client was rejected: a blocking read takes 55 µs of Python there and 20 µs here, and a gateway under load
reads a thousand times a second. A ``StreamConnection`` uses the same ``Pipeline`` as the commands, but sends each
command at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from engine.errors import Indeterminate, Internal, Unavailable
from engine.store.error_replies import ErrorReply
from engine.store.pipeline import Pipeline


class Reads:
    """The commands that only read. The methods have redis-py's names and return raw replies."""

    async def get(self, key: str) -> Any:
        """Return the string at ``key``, None if there is none."""
        return await self._run_command("GET", key)

    async def get_each(self, keys: Sequence[str]) -> list[Any]:
        """Return the string at each of ``keys``, which may be in different slots; None where there is none."""
        return await asyncio.gather(*(self.get(key) for key in keys))

    async def count_existing(self, *keys: str) -> int:
        """Return how many of ``keys`` exist. All keys must be in one slot."""
        return int(await self._run_command("EXISTS", *keys))

    async def common_members(self, first: str, second: str) -> list[bytes]:
        """Return the members that both sorted sets have."""
        return list(await self._run_command("ZINTER", 2, first, second))

    async def hget(self, key: str, field: str) -> Any:
        """Return one field of the hash at ``key``, None if there is none."""
        return await self._run_command("HGET", key, field)

    async def hmget(self, key: str, fields: Sequence[str]) -> Any:
        """Return the given fields of the hash at ``key``."""
        return await self._run_command("HMGET", key, *fields)

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        """Return all fields of the hash at ``key``."""
        row = await self._run_command("HGETALL", key)
        return dict(zip(row[::2], row[1::2], strict=True))

    async def info(self, section: str) -> dict[str, str]:
        """Return the properties of the server in one section of the Redis command INFO."""
        return parse_info(await self._run_command("INFO", section))

    async def size(self, key: str) -> tuple[int, int]:
        """Return the size in bytes of the stream at ``key``, and the number of its entries."""
        return int(await self._run_command("MEMORY", "USAGE", key) or 0), int(await self._run_command("XLEN", key))

    async def last_entry(self, key: str) -> dict[bytes, bytes] | None:
        """Return the fields of the last entry of the stream at ``key``, None if it has none."""
        entries = await self._run_command("XREVRANGE", key, "+", "-", "COUNT", 1)
        return dict(zip(entries[0][1][::2], entries[0][1][1::2], strict=True)) if entries else None

    async def highest_score(self, key: str) -> float | None:
        """Return the highest score in the sorted set at ``key``, None if it is empty."""
        found = await self._run_command("ZRANGE", key, 0, 0, "REV", "WITHSCORES")
        return float(found[1]) if found else None

    async def count_members(self, key: str) -> int:
        """Return how many members the sorted set at ``key`` has."""
        return int(await self._run_command("ZCARD", key))

    async def time_ms(self) -> int:
        """Return the time of the server in ms since the Unix epoch."""
        seconds, microseconds = await self._run_command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def xrange(self, key: str, first_id: str, last_id: str, count: int) -> Any:
        """Return at most ``count`` entries of the stream at ``key``, from the entry id ``first_id`` to ``last_id``."""
        return await self._run_command("XRANGE", key, first_id, last_id, "COUNT", count)

    async def xread(self, streams: Mapping[Any, Any], count: int, block: int | None) -> Any:
        """Return at most ``count`` entries of each stream after the given position. ``streams`` maps names to
        positions.

        Wait up to ``block`` ms for the first entry (0: without limit, None: not at all).
        """
        blocking = () if block is None else ("BLOCK", block)
        return await self._run_command("XREAD", "COUNT", count, *blocking, "STREAMS", *streams, *streams.values())

    async def _run_command(self, *command: str | int) -> Any:
        """Run one command and return its raw reply."""
        raise NotImplementedError


class StreamConnection(Reads):
    """A connection for reads.

    Each method raises Unavailable if Redis cannot be reached, Indeterminate if the connection was lost before the
    reply, and ErrorReply for an error reply. A blocking read that its caller cancelled still blocks the commands behind
    it.
    """

    def __init__(
        self,
        connect: Callable[[Pipeline], Awaitable[None]],
        prepare: Callable[[Pipeline], Awaitable[None]] | None = None,
    ) -> None:
        self._pipe = Pipeline(connect, prepare or _no_preparation)

    async def open(self, *, keeps_trying: bool = False) -> None:
        """Connect to the server that runs the commands. Raises Unavailable, unless the connection ``keeps_trying``."""
        await self._pipe.open(keeps_trying=keeps_trying)

    async def aclose(self) -> None:
        """Close the connection without waiting for replies."""
        await self._pipe.close()

    def abandon(self) -> None:
        """Refuse every read from now on, because the server has ended."""
        self._pipe.abandon()

    def disconnect(self) -> None:
        """Close this connection and reconnect, because another server answers at the address."""
        self._pipe.disconnect()

    async def _run_command(self, *command: str | int) -> Any:
        return await self._pipe.submit_urgent(*command)


class ReadConnection(StreamConnection):
    """The connection for the plain reads of all callers. Reads that wait are sent in one write. If the reply to a read
    is lost, the read is sent once more; if the second reply is lost too, Unavailable is raised.
    """

    async def get_each(self, keys: Sequence[str]) -> list[Any]:
        """Return the string at each of ``keys``, which may be in different slots; None where there is none. This costs
        a third of one ``get`` for each key.
        """
        return list(
            await self._read_twice(lambda: asyncio.gather(*(self._pipe.submit("GET", key) for key in keys)), "GET")
        )

    async def run_command(self, *command: str | int) -> Any:
        """Run one command that only reads, and return its raw reply."""
        return await self._read_twice(lambda: self._pipe.submit(*command), str(command[0]))

    async def _run_command(self, *command: str | int) -> Any:
        return await self.run_command(*command)

    async def _read_twice(self, read: Callable[[], Awaitable[Any]], command: str) -> Any:
        """Return the result of ``read``, which is called again if its reply is lost."""
        try:
            try:
                return await read()
            except Indeterminate:
                return await read()
        except Indeterminate as error:
            raise Unavailable(f"Redis cannot be read: {error}") from error
        except ErrorReply as error:
            raise Internal(f"{command}: {error}") from error


def parse_info(info: bytes) -> dict[str, str]:
    """Return the names and values in a reply to INFO."""
    pairs = (line.partition(":") for line in info.decode().splitlines())
    return {name: value.strip() for name, _, value in pairs if value}


async def _no_preparation(_: Pipeline) -> None: ...
