"""Accept connections on a socket on which other workers of the server accept too.

The kernel wakes all workers, and the fastest accepts. Without a limit a worker that is idle for a moment would accept
most of a burst, and sockets stay for hours. So a worker above its fair share removes its reader until the others have
caught up. (Rejected: a listening socket for each worker with SO_REUSEPORT. The kernel assigns a connection to one of
the queues at once, and a worker that ends resets what waits in its queue.)
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection

import structlog

from server.process.worker_loads import WorkerLoads

MAX_ACCEPTS_PER_TURN = 4
MAX_SHARE_FACTOR = 1.1
"""A worker may have its fair share of connections times this factor, plus ``EXTRA_CONNECTIONS``."""
EXTRA_CONNECTIONS = 4
"""The connections that a worker may have in addition, so that a small number of connections does not make it pause."""
PAUSE_S = 0.02
"""How long a worker above its share accepts nothing before it looks again."""
CHECK_INTERVAL_S = 0.25
RESOURCE_PAUSE_S = 1.0
"""The pause after an accept that failed because the process has no free descriptor, as in asyncio."""

log = structlog.get_logger(__name__)


class Acceptor:
    """The accepting of one worker on the shared ``sock``. ``connections`` are the open connections of this worker, and
    ``count_sockets`` returns how many of them are sockets and streams.
    """

    def __init__(
        self,
        sock: socket.socket,
        create_protocol: Callable[[], asyncio.Protocol],
        loads: WorkerLoads,
        connections: Collection[object],
        count_sockets: Callable[[], int],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._create_protocol = create_protocol
        self._loads = loads
        self._connections = connections
        self._count_sockets = count_sockets
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_closed = self._is_reading = False
        self._check = self._loop.call_later(CHECK_INTERVAL_S, self._publish_regularly)

    def resume(self) -> None:
        """Accept connections, unless this worker is above its share: then look again after ``PAUSE_S``."""
        if self._is_closed or self._is_reading:
            return
        if self._publish():
            self._loop.call_later(PAUSE_S, self.resume)
        else:
            self._is_reading = True
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more connections. The others continue."""
        if not self._is_closed:
            self._stop_reading()
            self._is_closed = True
            self._check.cancel()

    async def wait_closed(self) -> None:
        """Return at once: nothing waits here (uvicorn awaits this)."""

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._sock.fileno())

    def _publish(self) -> bool:
        """Publish this worker's load, and return whether the load is above its share."""
        count = len(self._connections) + len(self._opening)
        self._loads.write(count, self._count_sockets())
        return count > self._loads.fair_share() * MAX_SHARE_FACTOR + EXTRA_CONNECTIONS

    def _publish_regularly(self) -> None:
        self._publish()
        self._check = self._loop.call_later(CHECK_INTERVAL_S, self._publish_regularly)

    def _pause(self, pause_s: float) -> None:
        self._stop_reading()
        self._loop.call_later(pause_s, self.resume)

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTS_PER_TURN):
            try:
                connection, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another worker was faster
                return
            except OSError as error:
                log.error("accept_failed", error=error.strerror, retry_s=RESOURCE_PAUSE_S)
                return self._pause(RESOURCE_PAUSE_S)
            connection.setblocking(False)
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
            if self._publish():
                return self._pause(PAUSE_S)
        return None

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._create_protocol, connection)
        except OSError as error:
            log.debug("connection_not_opened", error=str(error))
            connection.close()
