"""The shared connection against a server that replies late: no reply is taken for the reply to another command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.store.pipeline import Pipeline


class LateServer:
    """A server whose first ``silent`` connections send nothing until the test writes to them."""

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.lines: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reply to every command with the number of the connection."""
        self.lines.append(writer)
        number = len(self.lines)
        while await reader.read(65536):
            if number > self.silent:
                writer.write(b":%d\r\n" % number)
        writer.transport.abort()


@pytest.fixture
async def late() -> AsyncIterator[LateServer]:
    """A server with two silent connections, followed by connections that reply."""
    late = LateServer(2)
    server = await asyncio.start_server(late.serve, "127.0.0.1", 0)
    late.port = server.sockets[0].getsockname()[1]
    yield late
    server.close()


async def test_a_late_reply_of_an_abandoned_connection_is_ignored(late: LateServer) -> None:
    """A connection that is abandoned during authentication is closed: its later replies do not reach commands of the
    next connection.
    """

    async def connect(pipe: Pipeline) -> None:
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().create_connection(lambda: pipe, "127.0.0.1", late.port)
            await pipe.submit_urgent("AUTH", "secret")

    async def prepare(pipe: Pipeline) -> None:
        await pipe.submit_urgent("PING")

    pipe = Pipeline(connect, prepare)
    await pipe._reconnect()
    assert len(late.lines) == 3
    for silent in late.lines[:2]:
        silent.write(b":99\r\n")
    await asyncio.sleep(0.02)  # anything that is still read from them would be read now
    assert [await pipe.submit("GET", "x") for _ in range(3)] == [3, 3, 3]
    await pipe.close()


async def test_a_connection_lost_at_the_end_of_prepare_is_not_open(late: LateServer) -> None:
    """The loss is noticed before the connection is ready: no command is sent on the next connection before that one
    is prepared.
    """
    late.silent = 0
    ready: list[bool] = []

    async def connect(pipe: Pipeline) -> None:
        await asyncio.get_running_loop().create_connection(lambda: pipe, "127.0.0.1", late.port)

    async def prepare(pipe: Pipeline) -> None:
        ready.append(pipe.is_up)
        await pipe.submit_urgent("PING")
        if len(ready) == 1:
            pipe.connection_lost(None)

    pipe = Pipeline(connect, prepare)
    await pipe._reconnect()
    assert ready == [False, False] and await pipe.submit("GET", "x") == 2
    await pipe.close()
