"""A process that archives a zone's log as the archiver does: it reads batches and writes them to SQL in transactions.

``python -m bench.load.archive_worker REDIS ZONE DATABASE KIND`` prints a line of JSON when it is ready, and starts when
the list ``START_KEY`` of Redis has an entry for it. At the end it prints a line with the number of events it wrote, the
seconds and its processor seconds. KIND is ``archive`` to use the archiver's own writer, or ``copy`` to write only the
events: by COPY to PostgreSQL, by one INSERT of many rows to SQLite.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import text

from bench.load.seed import ZONE
from engine.archive.projection import fold_events
from engine.archive.quarantine import EventWriter
from engine.archive.reader import Checkpoint
from engine.events import Event
from engine.process.settings import Settings
from engine.sql.database import Archive, open_archive
from engine.store.redis_url import connect_function, create_client
from engine.store.stream_connection import StreamConnection
from engine.types import Epoch, Zone
from engine.workers.log_reader import MAX_BATCH_EVENTS
from engine.zone import log

EVENT_COLUMNS = ("zone", "seq", "type", "to", "at", "actor", "bp", "data", "cause", "trace", "job")
_CREATE_BARE = 'CREATE TABLE IF NOT EXISTS bare_events (zone text, seq bigint, type text, "to" text, at bigint,\
 actor text, bp text, data text, cause text, trace text, job text, PRIMARY KEY (zone, seq))'

START_KEY = "bench:start"

WriteBatch = Callable[[list[Event], Checkpoint | None], Awaitable[None]]


async def _prepare_archive(archive: Archive, zone: Zone, epochs: dict[Epoch, int]) -> WriteBatch:
    """Return a function that writes a batch as the archiver does."""
    epoch = next(iter(epochs))

    async def write(events: list[Event], before: Checkpoint | None) -> None:
        await EventWriter(archive, zone, epochs, lambda _: None).write_events(events, before, lambda _: epoch)

    return write


async def _prepare_copy(archive: Archive, zone: Zone, epochs: dict[Epoch, int]) -> WriteBatch:
    """Return a function that stores only the rows of the events: no channel index, no jobs, offers, rooms or audit
    tree.
    """
    del zone, epochs
    async with archive.begin_write() as conn:
        await conn.execute(text(_CREATE_BARE))
    is_sqlite = archive.url.get_backend_name() == "sqlite"
    insert = f"INSERT INTO bare_events VALUES ({', '.join('?' * len(EVENT_COLUMNS))})"

    async def write(events: list[Event], before: Checkpoint | None) -> None:
        del before
        rows = [tuple(row[name] for name in EVENT_COLUMNS) for row in fold_events(events).events]
        async with archive.begin_write() as conn:
            if is_sqlite:
                await conn.exec_driver_sql(insert, rows)
            else:
                raw = (await conn.get_raw_connection()).driver_connection
                assert raw is not None
                await raw.copy_records_to_table("bare_events", records=rows, columns=EVENT_COLUMNS)

    return write


async def _read_events(client: StreamConnection, zone: Zone, after: int) -> list[Event]:
    """Return the next batch of the log, changed to events of ``zone``. Each worker writes to a zone of its own in SQL,
    and the ids of jobs and rooms contain the name of that zone.
    """
    events = await log.read_range(client, ZONE, after, MAX_BATCH_EVENTS, with_state=True)
    return [
        msgspec.structs.replace(
            event,
            zone=zone,
            to=tuple(channel.replace(f"_{ZONE}_", f"_{zone}_") for channel in event.to),
            data=event.data.replace(b"_%s_" % ZONE.encode(), b"_%s_" % zone.encode()),
            state=event.state.replace(b"_%s_" % ZONE.encode(), b"_%s_" % zone.encode()),
        )
        for event in events
    ]


async def _run(redis: str, zone: Zone, database: str, kind: str) -> None:
    archive = await open_archive(Settings(database=database))
    waiter, client = create_client(redis, socket_timeout=None), StreamConnection(connect_function(redis))
    await client.open()
    epochs = await log.read_epochs(client, ZONE)
    write = await {"archive": _prepare_archive, "copy": _prepare_copy}[kind](archive, zone, epochs)
    print(json.dumps({"ready": zone}), flush=True)
    await waiter.blpop([START_KEY])
    count, before = 0, None
    began, cpu_began = time.perf_counter(), time.process_time()
    while events := await _read_events(client, zone, before.seq if before else 0):
        await write(events, before)
        before = Checkpoint(next(iter(epochs)), events[-1].seq)
        count += len(events)
    elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    print(json.dumps({"events": count, "elapsed_s": elapsed_s, "cpu_s": cpu_s}), flush=True)
    await waiter.aclose()
    await client.aclose()
    await archive.close()


def main() -> None:
    """Archive the log that the arguments of this process name."""
    redis_url, zone_name, database_url, what = sys.argv[1:]
    asyncio.run(_run(redis_url, Zone(zone_name), database_url, what))


if __name__ == "__main__":
    main()
