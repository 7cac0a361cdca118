"""A connection of its own for who reads the log without end, with the few commands that takes.

Not redis-py's client, which takes 55 µs of Python for each read that blocks, where this takes 20: a gateway under load
reads a thousand times a second. It is the packed connection once more, but each question leaves at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from engine.store.pipeline import Pipeline


class Line:
    """Commands by redis-py's names, replies as the server gives them. Raises Unavailable where it cannot be reached,
    Indeterminate where the connection was lost before the answer, ServerSaid for an error of the server's.

    Who gives up a read that blocks leaves it before the questions that follow: they are answered when it is over.
    """

    def __init__(self, connect: Callable[[Pipeline], Awaitable[None]]) -> None:
        self._pipe = Pipeline(connect, _nothing)

    async def open(self) -> None:
        """Connect. Raises Unavailable."""
        await self._pipe.open()

    async def aclose(self) -> None:
        """Let the connection go, waiting for nobody."""
        await self._pipe.close()

    async def hget(self, name: str, field: str) -> Any:
        """One field of a hash."""
        return await self._pipe.urgent("HGET", name, field)

    async def hmget(self, name: str, fields: Sequence[str]) -> Any:
        """Some fields of a hash."""
        return await self._pipe.urgent("HMGET", name, *fields)

    async def info(self, section: str) -> dict[str, str]:
        """A section of what the server says of itself."""
        return told(await self._pipe.urgent("INFO", section))

    async def xrange(self, name: str, first: str, last: str, count: int) -> Any:
        """At most ``count`` entries of a stream."""
        return await self._pipe.urgent("XRANGE", name, first, last, "COUNT", count)

    async def xread(self, streams: Mapping[Any, Any], count: int, block: int | None) -> Any:
        """What follows in each stream; waits ``block`` ms for the first entry."""
        waits = () if block is None else ("BLOCK", block)
        return await self._pipe.urgent("XREAD", "COUNT", count, *waits, "STREAMS", *streams, *streams.values())


def told(info: bytes) -> dict[str, str]:
    """The lines of INFO."""
    pairs = (line.partition(":") for line in info.decode().splitlines())
    return {name: value.strip() for name, _, value in pairs if value}


async def _nothing(_: Pipeline) -> None: ...
