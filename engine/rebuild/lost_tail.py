"""Repair a zone whose Redis has lost only the end of its log, for example after a failover to a replica that lagged
behind.

If the last event that Redis has is the event that SQL has under this seq, Redis is an earlier state of the same
history. Then only the jobs, rooms and technicians of the events since then are rebuilt, and these events are
appended to the log again: their clients resume as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from sqlalchemy import select

from engine.archive import reader
from engine.events import Event
from engine.rebuild.contents import Contents, KeyContent, StreamEntry
from engine.sql.database import Archive
from engine.sql.schema import events
from engine.store import keys
from engine.types import Epoch, Zone
from engine.zone import log as zone_log
from engine.zone.records import ZoneRecord

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_TAIL_EVENTS = 20_000
"""With more lost events, the whole zone is rebuilt."""
TASKS_PER_SCAN = 1_000

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LostTail:
    """The archived events that Redis has lost, each with its job, and what they are about."""

    rows: list[tuple[Event, str | None]]
    jobs: set[str] = field(default_factory=set)
    rooms: set[str] = field(default_factory=set)
    technicians: set[str] = field(default_factory=set)


class _Data(msgspec.Struct):
    """The members of an event's data that may name a room or technicians. Other events use the same names for texts."""

    room: Any = None
    message: Any = None
    technician: Any = None
    former: Any = None


_data_decoder = msgspec.json.Decoder(_Data)


async def find_lost_tail(engine: Engine, zone: Zone, record: ZoneRecord) -> LostTail | None:
    """Return what Redis has lost; None if Redis is not an earlier state of the archived history. Raises Unavailable."""
    client = engine.store.read_connection
    head = await zone_log.read_head(client, zone)
    if not 0 < head.seq < record.archived or record.archived - head.seq > MAX_TAIL_EVENTS:
        return None
    here = await zone_log.read_event(client, zone, head.seq)
    there = await reader.event(engine.archive, zone, head.seq)
    if here is None or there is None or not _is_same_event(here, there):
        return None
    in_redis = await zone_log.read_epochs(client, zone)
    if any(record.epochs.get(epoch) != first for epoch, first in in_redis.items()):
        return None
    return await _read_tail(engine.archive, zone, head.seq, record.archived)


def _is_same_event(here: Event, there: Event) -> bool:
    """Return whether Redis and SQL have the same event. Causes are not compared, because SQL has emptied old ones."""
    return (here.type, here.to, here.at, here.actor, here.data) == (
        there.type,
        there.to,
        there.at,
        there.actor,
        there.data,
    )


async def _read_tail(archive: Archive, zone: Zone, after: int, until: int) -> LostTail | None:
    columns = events.c
    query = select(events).where(columns.zone == zone, columns.seq > after, columns.seq <= until).order_by(columns.seq)
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query)).mappings().all()
    if [row["seq"] for row in rows] != list(range(after + 1, until + 1)):
        return None  # an event is in quarantine
    tail = LostTail([(reader.event_of_row(row), row["job"]) for row in rows])
    try:
        for event, job in tail.rows:
            _note_subjects(tail, event, job)
    except (msgspec.DecodeError, LookupError) as error:
        log.error("lost_tail_unreadable", zone=zone, error=str(error))
        return None
    return tail


def _note_subjects(tail: LostTail, event: Event, job: str | None) -> None:
    """Note the job, the room and the technicians of an event."""
    data = _data_decoder.decode(event.data)
    if job:
        tail.jobs.add(job)
    message = data.message if isinstance(data.message, dict) else {}
    room = data.room.get("id") if isinstance(data.room, dict) else data.room
    tail.rooms |= {name for name in (room, message.get("room")) if isinstance(name, str)}
    tail.technicians |= {each["id"] for each in (data.technician, data.former) if isinstance(each, dict)}
    if event.type.startswith("offer.") or event.type == "session.work":
        tail.technicians |= {channel.removeprefix("user:") for channel in event.to if channel.startswith("user:")}


def log_contents(zone: Zone, tail: LostTail, epochs: Mapping[Epoch, int]) -> Contents:
    """Return the keys that say how far the log and its readers are, and the events to append to the log again."""
    entries = tuple(StreamEntry(f"{event.seq}-0", _fields_of(event)) for event, _ in tail.rows)
    return {
        keys.log(zone): KeyContent("stream", entries),
        keys.epochs(zone): KeyContent("hash", {str(epoch): str(first) for epoch, first in epochs.items()}),
        keys.push_cursor(zone): KeyContent("string", str(tail.rows[-1][0].seq)),
    }


def _fields_of(event: Event) -> tuple[str, ...]:
    """Return the fields of the log's entry, as lua/lib/event_log.lua writes them."""
    fields = {
        "type": event.type,
        "to": " ".join(event.to),
        "at": str(event.at),
        "actor": event.actor,
        "bp": event.blueprint_key,
        "data": event.data.decode(),
        "cause": event.cause,
        **({"trace": event.trace} if event.trace else {}),
    }
    return tuple(part for pair in fields.items() for part in pair)


async def find_tasks(engine: Engine, zone: Zone, subjects: Iterable[str]) -> list[str]:
    """Return the scheduled tasks in Redis that name one of these jobs or rooms. Raises Unavailable."""
    ids, found = set(subjects), []
    cursor: Any = 0
    while True:
        cursor, entries = await engine.store.command("ZSCAN", keys.due_tasks(zone), cursor, "COUNT", TASKS_PER_SCAN)
        names = (entry.decode() for entry in entries[::2])
        found += [name for name in names if not ids.isdisjoint(name.split(":"))]
        if cursor in (0, b"0"):
            return found
