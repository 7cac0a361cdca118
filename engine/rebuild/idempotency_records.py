"""Compute the idempotency records that are still valid, from the events of the commands.

An event's cause is the command's request key and fingerprint, and its actor is who gave the command. A refusal, a
repeat under another key, and a command that changed nothing have no event: their records are lost, and their repeats
are decided again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import msgspec
from sqlalchemy import or_, select, tuple_

from engine.archive import reader
from engine.events import Event
from engine.identity.log_append import OUTBOX_FINGERPRINT, OUTBOX_PRINCIPAL
from engine.rebuild.contents import Contents, KeyContent
from engine.rebuild.job_causes import is_recorded, seq_and_version, version_after
from engine.rules.emails import REGISTRATION_PREFIX
from engine.sql.database import Archive
from engine.sql.schema import events
from engine.sql.schema import idempotency_records as sql_records
from engine.store import keys
from engine.types import UserId, Zone

STEP_MS, CREATION_MS = 600_000, 86_400_000
"""How long a record is valid, after a step and after a command that creates something (lua/lib/idempotency.lua)."""
CREATION_TYPES = (
    *("job.created", "quote.created", "bid.created", "share.created"),
    *("session.revoked", "technician.reviewed"),
)
CREATION_PREFIXES = ("payment.", "price.", "announcement.", "audit.")
"""The types of the events of commands that create something."""
JOB_PREFIXES = ("job.", "bid.", "payment.", "price.", "offer.declined", "mediator.taken")
"""The types of events that only commands about a job have."""
VERSION_PREFIXES = ("job.", "payment.", "price.")
"""The types of events that contain a job with its version."""
PAGE_SIZE = 2_000


class _Room(msgspec.Struct):
    id: str


class _RoomData(msgspec.Struct):
    room: _Room


_selected = select(*(events.c[name] for name in ("seq", "type", "at", "actor", "data", "cause", "job")))
_room_decoder = msgspec.json.Decoder(_RoomData)


async def read_contents(archive: Archive, zone: Zone, now_ms: int) -> AsyncIterator[Contents]:
    """Yield the idempotency records that are valid at the zone's time ``now_ms``, in pages. Raises Unavailable."""
    columns = events.c
    is_creation = or_(columns.type.in_(CREATION_TYPES), *(columns.type.startswith(p) for p in CREATION_PREFIXES))
    is_valid = or_(columns.at > now_ms - STEP_MS, is_creation)
    of_commands = (columns.zone == zone, columns.cause != "", is_valid)
    last = (now_ms - CREATION_MS, 0)
    while True:
        after = tuple_(columns.at, columns.seq) > last  # a page begins in the index where the last one ended
        query = _selected.where(*of_commands, after).order_by(columns.at, columns.seq).limit(PAGE_SIZE)
        async with archive.begin_read() as conn:
            rows = (await conn.execute(query)).all()
        page = [
            (Event(zone, seq, kind, (), at, actor, "", data.encode(), cause), job)
            for seq, kind, at, actor, data, cause, job in rows
        ]
        is_last = len(page) < PAGE_SIZE
        commands = _group_by_command(page)
        if not is_last and len(commands) > 1:  # the events of one command stay together
            commands.pop()
        if commands:
            await _add_versions(archive, commands)
            yield dict(_key_content(command) for command in commands)
            last = (commands[-1].events[-1].at, commands[-1].events[-1].seq)
        if is_last:
            return


async def read_reserved_keys(archive: Archive, zone: Zone, now_ms: int) -> AsyncIterator[Contents]:
    """Yield the keys that belong to commands in SQL, in pages: no command in Redis may be done under them. Raises
    Unavailable.
    """
    columns = sql_records.c
    order = (columns.principal, columns.key)
    of_users = columns.principal.not_like(f"{REGISTRATION_PREFIX}%")
    query = select(*order, columns.fingerprint, columns.expires_at).where(columns.expires_at > now_ms, of_users)
    last = ("", "")
    while True:
        async with archive.begin_read() as conn:
            page = query.where(tuple_(*order) > last).order_by(*order).limit(PAGE_SIZE)
            rows = (await conn.execute(page)).all()
        if rows:
            yield {
                keys.idempotency_record(zone, UserId(row.principal), row.key): KeyContent(
                    "string", f"SQL {row.fingerprint} 0 0 -", row.expires_at
                )
                for row in rows
            }
            last = (rows[-1].principal, rows[-1].key)
        if len(rows) < PAGE_SIZE:
            return


async def contents_of(archive: Archive, page: Sequence[tuple[Event, str | None]]) -> Contents:
    """Return the idempotency records of events, each given with its job. Raises Unavailable."""
    commands = _group_by_command(page)
    await _add_versions(archive, commands)
    return dict(_key_content(command) for command in commands)


@dataclass(slots=True)
class _Command:
    """The events of one command, and the id of the job or the room that they are about ("": none). ``is_about_job``:
    the command itself is about a job. (To go offline is not, although it closes offers.) A repeat is answered with the
    event ``seq`` and with ``version``, the job's version after the command (0: the events do not contain it)."""

    events: list[Event]
    job: str
    is_about_job: bool
    seq: int
    version: int


def _group_by_command(page: Sequence[tuple[Event, str | None]]) -> list[_Command]:
    """Return the commands of the events, in order, without refused codes."""
    commands, job_of = [], {event.seq: job for event, job in page}
    with_cause = [event for event, _ in page if event.cause]
    for _, group in groupby(with_cause, attrgetter("cause", "actor")):
        found = [event for event in group if not event.type.startswith("code.")]
        if found:
            commands.append(_command_of(found, next(filter(None, (job_of[event.seq] for event in found)), "")))
    return commands


def _command_of(found: list[Event], job: str) -> _Command:
    is_about_job = bool(job) and any(event.type.startswith(JOB_PREFIXES) for event in found)
    seq, version = seq_and_version(found) if is_about_job else (found[0].seq, 0)
    return _Command(found, job, is_about_job, seq if is_recorded(found) else found[0].seq, version)


async def _add_versions(archive: Archive, commands: Sequence[_Command]) -> None:
    """Add the versions of the jobs. If a command's events do not have it, an earlier event of the job does."""
    without = [command for command in commands if command.is_about_job and not command.version]
    if not without:
        return
    columns = events.c
    has_version = or_(*(columns.type.startswith(prefix) for prefix in VERSION_PREFIXES))
    of_jobs = columns.job.in_({command.job for command in without}), has_version
    found: dict[str, list[Event]] = {}
    async with archive.begin_read() as conn:
        for row in (await conn.execute(select(events).where(*of_jobs).order_by(columns.job, columns.seq))).mappings():
            found.setdefault(row["job"], []).append(reader.event_of_row(row))
    for command in without:
        before = [event for event in found.get(command.job, ()) if event.seq < command.events[0].seq]
        command.version = version_after(before)


def _key_content(command: _Command) -> tuple[str, KeyContent]:
    """Return the command's idempotency record."""
    first = command.events[0]
    key, _, fingerprint = first.cause.partition(":")
    seq, subject = command.seq, "-"
    if command.is_about_job:
        subject = command.job
    elif first.type.startswith("room."):
        subject = _room_decoder.decode(first.data).room.id
    elif status := [event for event in command.events if event.type == "technician.status"]:
        seq = status[0].seq
    is_creation = first.type in CREATION_TYPES or first.type.startswith(CREATION_PREFIXES)
    record = f"OK {fingerprint} {seq} {command.version} {subject}"
    principal = OUTBOX_PRINCIPAL if fingerprint == OUTBOX_FINGERPRINT else UserId(first.actor.partition(":")[2])
    name = keys.idempotency_record(first.zone, principal, key)
    return name, KeyContent("string", record, first.at + (CREATION_MS if is_creation else STEP_MS))
