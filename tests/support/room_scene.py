"""A server that the tests of one module share, and chat rooms whose customer is behind a network that fails."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import redis

from engine.process.settings import Settings
from engine.runtime import Engine
from server.serve import RunningServer, run_server
from tests.server.web.network_proxy import NetworkProxy
from tests.support import chat
from tests.support.chat import Chat
from tests.support.migrated import create_data_dir
from tests.support.wait import wait_until


class RoomScene(NamedTuple):
    """A job with an open room, and a proxy to the server."""

    server: RunningServer
    network: NetworkProxy
    chat: Chat

    @property
    def engine(self) -> Engine:
        """Return the server's engine."""
        return self.server.engine

    async def say(self, *texts: str) -> None:
        """Say messages as the technician, without a client."""
        for text in texts:
            await chat.say(self.engine, self.chat.technician, self.chat.room, text)

    def lose_network(self) -> None:
        """Abort all connections of the proxy, and let no new one reach the server."""
        self.network.set_target("http://127.0.0.1:1")
        self.network.cut()

    def restore_network(self) -> None:
        """Let connections reach the server again."""
        self.network.set_target(self.server.url)


@asynccontextmanager
async def run_shared_server(redis_url: str, data: Path) -> AsyncIterator[RunningServer]:
    """Empty Redis and run a server on the new data directory ``data``."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    create_data_dir(data)
    async with run_server(Settings(data=str(data), redis=redis_url, port=0, limits="off")) as serving:
        yield serving


@asynccontextmanager
async def open_scene(server: RunningServer) -> AsyncIterator[RoomScene]:
    """Book a job with a room, and start the proxy."""
    gateway = server.gateway
    assert gateway
    await wait_until(lambda: gateway.live.is_subscribed, what="the subscription of typing and positions")
    opened = await chat.book_with_room(server.engine, f"tech{uuid.uuid4().hex[:8]}")
    async with NetworkProxy(server.url) as network:
        yield RoomScene(server, network, opened)
