"""The shared connection to a Redis server that replies late: a late reply is never returned for another command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.store.pipeline import Pipeline


class LateServer:
    """A server whose first ``silent`` connections receive nothing until the test writes to them."""

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.connections: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reply to every command with the number of the connection, except on the silent connections."""
        self.connections.append(writer)
        number = len(self.connections)
        while await reader.read(65536):
            if number > self.silent:
                writer.write(b":%d\r\n" % number)
        writer.transport.abort()


@pytest.fixture
async def late_server() -> AsyncIterator[LateServer]:
    """Yield a server with two silent connections, followed by connections that reply."""
    late_server = LateServer(2)
    server = await asyncio.start_server(late_server.serve, "127.0.0.1", 0)
    late_server.port = server.sockets[0].getsockname()[1]
    yield late_server
    server.close()


async def test_a_late_reply_of_an_abandoned_connection_is_ignored(late_server: LateServer) -> None:
    """The pipeline closes a connection that it abandons during authentication: later replies of that connection do not
    reach commands of the next connection.
    """

    async def connect(pipe: Pipeline) -> None:
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().create_connection(lambda: pipe, "127.0.0.1", late_server.port)
            await pipe.submit_urgent("AUTH", "secret")

    async def prepare(pipe: Pipeline) -> None:
        await pipe.submit_urgent("PING")

    pipe = Pipeline(connect, prepare)
    await pipe._reconnect()
    assert len(late_server.connections) == 3
    for silent in late_server.connections[:2]:
        silent.write(b":99\r\n")
    await asyncio.sleep(0.02)  # if the pipeline still read from them, it would read now
    assert [await pipe.submit("GET", "x") for _ in range(3)] == [3, 3, 3]
    await pipe.close()


async def test_a_connection_lost_at_the_end_of_prepare_is_not_open(late_server: LateServer) -> None:
    """If a connection is lost while it is prepared, the pipeline notices it and prepares the next connection before it
    sends a command there.
    """
    late_server.silent = 0
    ready: list[bool] = []

    async def connect(pipe: Pipeline) -> None:
        await asyncio.get_running_loop().create_connection(lambda: pipe, "127.0.0.1", late_server.port)

    async def prepare(pipe: Pipeline) -> None:
        ready.append(pipe.is_up)
        await pipe.submit_urgent("PING")
        if len(ready) == 1:
            pipe.connection_lost(None)

    pipe = Pipeline(connect, prepare)
    await pipe._reconnect()
    assert ready == [False, False] and await pipe.submit("GET", "x") == 2
    await pipe.close()
