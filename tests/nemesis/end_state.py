"""What the stores have at the end of a run: the log (in SQL and Redis together), the record of each job in each store,
and data that a store should not have.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.events import Event
from engine.process.settings import Settings
from engine.sql import schema
from engine.sql.database import open_archive
from engine.sql.room_tables import messages
from engine.store import keys
from engine.store.connection import create_client
from engine.types import DEFAULT_ZONE, JobId, TechnicianId, UserId
from engine.zone import log
from tests.nemesis.history import Entry, Flaw, Line, Record

ZONE = DEFAULT_ZONE


async def read_end(redis_url: str, settings: Settings) -> list[Line]:
    """Return the log, the job records and the errors found in both stores. With ``redis_url`` "" only SQL is read."""
    lines: list[Line] = []
    found: dict[int, Event] = {}
    epochs: dict[str, int] = {}
    if redis_url:
        async with create_client(redis_url) as client:
            found = {event.seq: event for event in await log.read_range(client, ZONE, 0, 1_000_000)}
            epochs = {str(name): first for name, first in (await log.read_epochs(client, ZONE)).items()}
            lines += [each async for each in _redis_lines(client)]
    archive = await open_archive(settings)
    try:
        async with archive.begin_read() as conn:
            for row in (await conn.execute(select(schema.events).order_by(schema.events.c.seq))).all():
                stored = _event_of(row)
                if (live := found.setdefault(stored.seq, stored)) is not stored and live.data != stored.data:
                    lines.append(Flaw("stores_differ", f"event {stored.seq} in SQL is not that of Redis"))
            for row in (await conn.execute(select(schema.epochs))).all():
                epochs[row.epoch] = row.first_seq
            lines += await _message_lines(conn)
            for row in (await conn.execute(select(schema.jobs))).all():
                lines.append(Record("sql", row.id, row.status, row.version, row.technician or ""))
    finally:
        await archive.close()
    lines += _history_entries(found, epochs)
    return lines


async def _message_lines(conn: AsyncConnection) -> list[Line]:
    """Return an error if the messages in SQL differ from those of the archived events."""
    stored = Counter((await conn.execute(select(messages.c.seq))).scalars())
    told = select(schema.events.c.seq).where(schema.events.c.type == "message.created")
    if other := stored - (said := Counter((await conn.execute(told)).scalars())) or said - stored:
        return [Flaw("stores_differ", f"the messages in SQL are not those of the log at {sorted(other)}")]
    return []


def _event_of(row: Any) -> Event:
    data, to = row.data.encode(), tuple(row.to.split())
    return Event(ZONE, row.seq, row.type, to, row.at, row.actor, row.bp, data, row.cause, row.trace)


def _history_entries(found: dict[int, Event], epochs: dict[str, int]) -> Iterator[Entry]:
    """Yield the events as entries of the history. The restricted copy of a step has the public part of the job."""
    starts = sorted(epochs.items(), key=lambda item: item[1])
    for seq, event in sorted(found.items()):
        epoch = next((name for name, first in reversed(starts) if first <= seq), "")
        data = orjson.loads(event.data)
        job = (data.get("job") or data.get("offer", {}).get("job") or {}) if isinstance(data, dict) else {}
        job = job if isinstance(job, dict) else {"id": job}
        if event.type.startswith(("room.", "message.")):
            yield _room_entry(event, epoch, data)
            continue
        is_full = "customer" in job
        yield Entry(
            seq,
            epoch,
            event.type,
            " ".join(event.to),
            event.actor,
            event.cause,
            job.get("id", ""),
            job.get("version", 0) if is_full else 0,
            job.get("status", "") if is_full else "",
            (job.get("technician") or {}).get("id", "") if is_full else "",
        )


def _room_entry(event: Event, epoch: str, data: dict[str, Any]) -> Entry:
    """Return the event of a room or of a message in it."""
    message, room = data.get("message") or {}, data.get("room") or {}
    name = message.get("room") or (room.get("id", "") if isinstance(room, dict) else room)
    user, client_id = (data.get("user") or {}).get("id", ""), message.get("client_id", "")
    to, n = " ".join(event.to), message.get("n", 0)
    return Entry(event.seq, epoch, event.type, to, event.actor, event.cause, name, n, "", user, client_id)


async def _redis_lines(client: Redis) -> Any:
    """Yield the job records in Redis, and an error for each key that lacks its TTL and each open job without a
    scheduled task.
    """
    due = {name.decode() for name in await client.zrange(keys.due_tasks(ZONE), 0, -1)}
    prefix = keys.job(ZONE, JobId(""))
    technician_prefix = keys.technician(ZONE, TechnicianId(UserId("")))
    held: Counter[str] = Counter()
    loads: dict[str, tuple[int, int]] = {}
    async for name in client.scan_iter(count=500):
        text = name.decode()
        if await client.ttl(name) == -1 and not _is_permanent(text):
            yield Flaw("no_ttl", text)
        if text.startswith(technician_prefix) and text.count(":") == technician_prefix.count(":"):
            load = await client.hget(name, "load") or b"0"  # type: ignore[misc]
            technician = TechnicianId(UserId(text.removeprefix(technician_prefix)))
            listed = await client.scard(keys.technician_jobs(ZONE, technician))  # type: ignore[misc]
            loads[technician] = (int(load), listed)
        if not text.startswith(prefix) or text.count(":") != prefix.count(":"):
            continue
        row = {k.decode(): v.decode() for k, v in (await client.hgetall(name)).items()}  # type: ignore[misc]
        yield Record("redis", row["id"], row["status"], int(row["version"]), row["holder"])
        held[row["holder"]] += row["phase"] in ("assigned", "active")
        is_searching = row["phase"] == "open" and row["mode"] != "none" and not row["holder"]
        tasks = {entry.partition(":")[0] for entry in due if row["id"] in entry.split(":")}
        if is_searching and not {"wave", "expire"} <= tasks:
            yield Flaw("stuck", f"{row['id']} is {row['status']} and has only the tasks {sorted(tasks)}")

    for technician, (load, listed) in loads.items():
        if not load == listed == held[technician]:
            text = f"{technician} has the load {load}, {listed} jobs in the set and holds {held[technician]}"
            yield Flaw("stores_differ", text)


def _is_permanent(key: str) -> bool:
    name = key.partition("}:")[2]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in keys.PERMANENT)
