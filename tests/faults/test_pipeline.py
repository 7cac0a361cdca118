"""The packed connection, against a server that answers late: no reply is ever taken for another command's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.store.pipeline import Pipeline


class Late:
    """A server whose first ``silent`` connections answer nothing until they are told to."""

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.lines: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every command with the number of its connection."""
        self.lines.append(writer)
        number = len(self.lines)
        while await reader.read(65536):
            if number > self.silent:
                writer.write(b":%d\r\n" % number)
        writer.transport.abort()


@pytest.fixture
async def late() -> AsyncIterator[Late]:
    """Two connections that say nothing, then those that answer."""
    late = Late(2)
    server = await asyncio.start_server(late.serve, "127.0.0.1", 0)
    late.port = server.sockets[0].getsockname()[1]
    yield late
    server.close()


async def test_a_late_answer_of_a_given_up_connection_is_nobodys(late: Late) -> None:
    """Given up while it authenticates, a connection is closed: what it says later is not the next one's reply."""

    async def connect(pipe: Pipeline) -> None:
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().create_connection(lambda: pipe, "127.0.0.1", late.port)
            await pipe.urgent("AUTH", "secret")

    async def prepare(pipe: Pipeline) -> None:
        await pipe.urgent("PING")

    pipe = Pipeline(connect, prepare)
    await pipe._rejoin()
    assert len(late.lines) == 3
    for silent in late.lines[:2]:
        silent.write(b":99\r\n")
    await asyncio.sleep(0.02)  # whatever is still read of them would be read now
    assert [await pipe.submit("GET", "x") for _ in range(3)] == [3, 3, 3]
    await pipe.close()


async def test_a_connection_lost_with_the_last_word_of_prepare_is_not_open(late: Late) -> None:
    """Its loss is seen before it is called ready: nothing may leave on the next one before that was prepared."""
    late.silent = 0
    ready: list[bool] = []

    async def connect(pipe: Pipeline) -> None:
        await asyncio.get_running_loop().create_connection(lambda: pipe, "127.0.0.1", late.port)

    async def prepare(pipe: Pipeline) -> None:
        ready.append(pipe.up)
        await pipe.urgent("PING")
        if len(ready) == 1:
            pipe.connection_lost(None)

    pipe = Pipeline(connect, prepare)
    await pipe._rejoin()
    assert ready == [False, False] and await pipe.submit("GET", "x") == 2
    await pipe.close()
