"""uvicorn as this project uses it: on bound sockets, without signal handlers and without logs of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from server.process.acceptor import Acceptor
from server.process.worker_loads import WorkerLoads

SHUTDOWN_TIMEOUT_S = 5
KEEP_ALIVE_S = 75
"""How long an idle HTTP connection stays open. It is longer than the idle timeouts of clients and proxies (httpx 5 s,
nginx and AWS load balancers 60 s), so that they close first. With uvicorn's default of 5 s, a request that a client
sent at the moment of the close failed without an answer.
"""


def uvicorn_config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    """Return a uvicorn configuration for ``app``, without uvicorn's own logging and start-up."""
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        **more,
    )


class HttpServer(uvicorn.Server):
    """A uvicorn server without signal handlers, because server/process/signals.py handles the signals. With ``loads``
    other processes accept connections on the same socket, and this one accepts its share (``acceptor``).
    """

    def __init__(
        self, config: uvicorn.Config, loads: WorkerLoads | None = None, count_sockets: Callable[[], int] = lambda: 0
    ) -> None:
        super().__init__(config)
        self._loads = loads
        self._count_sockets = count_sockets
        self._acceptor: Acceptor | None = None

    def stop_accepting(self) -> None:
        """Leave new connections to the other workers. Without other workers, do nothing."""
        if self._acceptor:
            self._acceptor.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Change no signal handler."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections on ``sockets``."""
        if self._loads is None:
            return await super().startup(sockets=sockets)
        assert sockets
        connections = self.server_state.connections
        self._acceptor = Acceptor(sockets[0], self._create_protocol, self._loads, connections, self._count_sockets)
        self._acceptor.resume()
        self.servers = [self._acceptor]  # type: ignore[list-item]  # uvicorn closes it and waits for it
        self.started = True
        return None

    def _create_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state={}, _loop=asyncio.get_running_loop()
        )
