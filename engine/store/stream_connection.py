"""Connections that only read: a line of its own for who reads the log without end, and one for all other plain reads.

Both read from the server that commands are done at, or not at all (``Store``'s check of each new connection). A primary
that was replaced and stays up would else answer from the past for hours.

Not redis-py's client, which takes 55 µs of Python for each read that blocks, where this takes 20: a gateway under load
reads a thousand times a second. It is the packed connection once more, but each question leaves at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from engine.errors import Indeterminate, Internal, Unavailable
from engine.store.pipeline import Pipeline, ServerSaid


class StreamConnection:
    """Commands by redis-py's names, replies as the server gives them. Raises Unavailable where it cannot be reached,
    Indeterminate where the connection was lost before the answer, ServerSaid for an error of the server's.

    Who gives up a read that blocks leaves it before the questions that follow: they are answered when it is over.
    """

    def __init__(
        self,
        connect: Callable[[Pipeline], Awaitable[None]],
        prepare: Callable[[Pipeline], Awaitable[None]] | None = None,
    ) -> None:
        self._pipe = Pipeline(connect, prepare or _nothing)

    async def open(self) -> None:
        """Connect. Raises Unavailable."""
        await self._pipe.open()

    async def aclose(self) -> None:
        """Let the connection go, waiting for nobody."""
        await self._pipe.close()

    def hang_up(self) -> None:
        """Leave the connection: another server answers to the name."""
        self._pipe.hang_up()

    async def get(self, name: str) -> Any:
        """A string."""
        return await self._ask("GET", name)

    async def hget(self, name: str, field: str) -> Any:
        """One field of a hash."""
        return await self._ask("HGET", name, field)

    async def hmget(self, name: str, fields: Sequence[str]) -> Any:
        """Some fields of a hash."""
        return await self._ask("HMGET", name, *fields)

    async def hgetall(self, name: str) -> dict[bytes, bytes]:
        """A whole hash."""
        row = await self._ask("HGETALL", name)
        return dict(zip(row[::2], row[1::2], strict=True))

    async def info(self, section: str) -> dict[str, str]:
        """A section of what the server says of itself."""
        return told(await self._ask("INFO", section))

    async def size(self, name: str) -> tuple[int, int]:
        """How many bytes a stream takes, and how many entries it has."""
        return int(await self._ask("MEMORY", "USAGE", name) or 0), int(await self._ask("XLEN", name))

    async def xrange(self, name: str, first: str, last: str, count: int) -> Any:
        """At most ``count`` entries of a stream."""
        return await self._ask("XRANGE", name, first, last, "COUNT", count)

    async def xread(self, streams: Mapping[Any, Any], count: int, block: int | None) -> Any:
        """What follows in each stream; waits ``block`` ms for the first entry."""
        waits = () if block is None else ("BLOCK", block)
        return await self._ask("XREAD", "COUNT", count, *waits, "STREAMS", *streams, *streams.values())

    async def _ask(self, *command: str | int) -> Any:
        return await self._pipe.urgent(*command)


class Reads(StreamConnection):
    """Plain reads for everybody, packed. A lost one is asked once more, then Unavailable: it did nothing."""

    async def _ask(self, *command: str | int) -> Any:
        try:
            try:
                return await self._pipe.submit(*command)
            except Indeterminate:
                return await self._pipe.submit(*command)
        except Indeterminate as error:
            raise Unavailable(f"Redis cannot be read: {error}") from error
        except ServerSaid as error:
            raise Internal(f"{command[0]!s}: {error}") from error


def told(info: bytes) -> dict[str, str]:
    """The lines of INFO."""
    pairs = (line.partition(":") for line in info.decode().splitlines())
    return {name: value.strip() for name, _, value in pairs if value}


async def _nothing(_: Pipeline) -> None: ...
