"""Read the logs for the archiver: as many events as one transaction takes, in small pages that delay no other task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from engine.events import Event
from engine.store.stream_connection import StreamConnection
from engine.types import Epoch, Zone
from engine.zone import log as zone_log

if TYPE_CHECKING:
    from engine.store.connection import Store

MAX_BATCH_EVENTS = 1_000
"""The most events in one transaction. An archiver that lags takes this many, because a commit and the statements of a
batch cost the same for few events as for many. It takes about 0.1 s, during which SQLite has no other writer. A larger
batch would skip heads of the audit tree (``engine.audit.heads.ENTRIES_PER_HEAD``).
"""
PAGE_EVENTS = 250
"""The most events that are read at once. Decoding them takes about 1 ms, during which other tasks wait."""
READ_MARGIN_S = 5.0
"""How much longer than its block time a read may take. If it takes longer, Redis is stopped or the connection is
dead.
"""


class LoggedEvents(NamedTuple):
    """Events of one zone in order, and each epoch of its log with its first seq."""

    events: list[Event]
    epochs: dict[Epoch, int]


class LogReader:
    """A reader of logs that one command can read. It has one connection, and opens it at the first read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: StreamConnection | None = None

    async def read(self, after: dict[Zone, int], block_ms: int) -> dict[Zone, LoggedEvents]:
        """Return the events that follow ``after``, for each zone that has any: at most ``MAX_BATCH_EVENTS``. Wait up to
        ``block_ms`` for the first. Events and epochs are from the same Redis server. Raises CalloutError and OSError;
        after that, call ``close``.
        """
        async with asyncio.timeout(block_ms / 1000 + READ_MARGIN_S):
            zone = next(iter(after))
            connection = self._connection = self._connection or await self._store.open_stream_connection(zone)
            page = min(PAGE_EVENTS, MAX_BATCH_EVENTS)
            by_zone: dict[Zone, list[Event]] = {}
            for event in await zone_log.wait_for_events(connection, after, block_ms, page, with_state=True):
                by_zone.setdefault(event.zone, []).append(event)
            for name, found in by_zone.items():
                last_page = found
                while len(last_page) == page and len(found) < MAX_BATCH_EVENTS:
                    count = min(page, MAX_BATCH_EVENTS - len(found))
                    last_page = await zone_log.read_range(connection, name, found[-1].seq, count, with_state=True)
                    found.extend(last_page)
            reads = asyncio.gather(*(zone_log.read_epochs(connection, name) for name in by_zone))
            _, epochs = await asyncio.gather(zone_log.check_primary(connection), reads)
            return {name: LoggedEvents(by_zone[name], of) for name, of in zip(by_zone, epochs, strict=True)}

    async def close(self) -> None:
        """Close the connection. The next read opens another one."""
        if self._connection:
            await self._connection.aclose()
        self._connection = None
