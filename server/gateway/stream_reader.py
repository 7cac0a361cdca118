"""The part of the relay that reads the logs of all zones, without the events that are not acknowledged yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from engine.events import Event
from engine.store.connection import Store
from engine.store.stream_connection import StreamConnection
from engine.types import Zone
from engine.zone import acknowledged_events

READ_BLOCK_S = 1.0
REPLY_TIMEOUT_S = 2.0
"""How many seconds a reply may be late, for example to a read that blocks for one second. After that, the connection
counts as dead.
"""
MAX_READ_EVENTS = 500


class StreamReader:
    """A reader of the logs in pieces. Under load the next piece is requested while the last is handed on, because Redis
    needs as long to assemble a piece as the gateway needs to route it.

    Nothing is read ahead while histories are compared, because reads and comparisons share one connection.
    """

    def __init__(self, store: Store, client: StreamConnection) -> None:
        self._store = store
        self._client = client
        self._after: dict[Zone, int] = {}
        self._pending_read: asyncio.Task[list[Event]] | None = None

    async def read_next(self, after: dict[Zone, int]) -> list[Event]:
        """Return the piece that follows the seqs ``after``, [] if no event arrived within ``READ_BLOCK_S``. A piece
        that was read ahead is used only if it follows ``after``. Raises the same errors as the client, and
        TimeoutError.
        """
        ahead, self._pending_read = self._pending_read, None
        if ahead is None or after != self._after:
            _cancel(ahead)
            self._after = after
            return await self._read_piece()
        return await ahead

    async def request_next(self, events: Sequence[Event]) -> None:
        """Request the piece after ``events``, the last result of ``read_next``."""
        self._after = self._after | {event.zone: event.seq for event in events}
        self._pending_read = asyncio.create_task(self._read_piece())
        await asyncio.sleep(0)  # so that the request is sent before the last piece is handed on

    def stop(self) -> None:
        """Cancel the read that ``request_next`` has started."""
        _cancel(self._pending_read)

    async def _read_piece(self) -> list[Event]:
        if not self._after:
            await asyncio.sleep(READ_BLOCK_S)
            return []
        async with asyncio.timeout(READ_BLOCK_S + REPLY_TIMEOUT_S):
            return await acknowledged_events.wait_for_events(
                self._store, self._client, self._after, int(READ_BLOCK_S * 1000), MAX_READ_EVENTS
            )


def _cancel(task: asyncio.Task[list[Event]] | None) -> None:
    """Cancel ``task`` and ignore its outcome."""
    if task is not None:
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
