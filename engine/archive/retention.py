"""Delete data from SQL that is older than its retention time, in batches.

A part of a zone's log is retired as a whole, from the end of the part before it: ``log.retired {from, to}`` is archived
first, so that the audit can explain each missing event; the leaves of the events stay. These events are not deleted:
all events of jobs that are not over or that Redis still has, because a zone is rebuilt from them; ``job.created`` and
the events of payments, from which a finished job is restored; and the events that explain removed data.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, delete, exists, func, or_, select, update

from engine.archive import apply
from engine.archive.demand_projection import COUNT_KINDS
from engine.archive.projection import FINISHED_PHASES
from engine.files import file_rows
from engine.rules.hour_slots import hour_of
from engine.sql.database import Archive
from engine.sql.demand_tables import demand_hours, demand_progress
from engine.sql.file_tables import files
from engine.sql.insert import insert_into
from engine.sql.job_tables import job_states
from engine.sql.path_tables import job_paths
from engine.sql.quote_tables import quotes
from engine.sql.retention_tables import retirements
from engine.sql.room_tables import messages, room_members, room_reads, rooms
from engine.sql.schema import (
    bids,
    event_channels,
    events,
    events_refused,
    job_references,
    jobs,
    notification_reads,
    notifications,
    offers,
)
from engine.types import Zone

ROWS_PER_BATCH = 500
"""The most events, jobs, rooms or notifications that one transaction deletes."""
RETIRED_TYPE = "log.retired"
_KEPT_TYPES = ("job.created", "log.%", "payment.%", "subject.%")


class Retirement(NamedTuple):
    """A part of a zone's log whose events are deleted."""

    zone: Zone
    first_seq: int
    last_seq: int
    announced_seq: int | None
    deleted_to: int

    @property
    def data(self) -> str:
        """The data of the event ``log.retired``, by which the log announces that this part is deleted."""
        return f'{{"from":{self.first_seq},"to":{self.last_seq}}}'


async def next_retirement(archive: Archive, zone: Zone, before: int) -> Retirement | None:
    """Return the part of the zone's log whose events must be deleted from SQL now, or None. If a deletion was begun, it
    is that part. Otherwise it is a new part with all events before the time ``before`` (ms), and it is recorded. Raises
    Unavailable, Indeterminate.
    """
    last = await apply.last_seq_before(archive, zone, before)
    columns = retirements.c
    async with archive.begin_write() as conn:
        known = select(retirements).where(columns.zone == zone).order_by(columns.first_seq.desc()).limit(1)
        row = (await conn.execute(known)).one_or_none()
        if row and row.deleted_to < row.last_seq:
            return Retirement(*row)
        if last <= (row.last_seq if row else 0):
            return None
        new = Retirement(zone, row.last_seq + 1 if row else 1, last, None, row.last_seq if row else 0)
        await conn.execute(insert_into(archive, retirements).values(new._asdict()).on_conflict_do_nothing())
    return new


async def note_announcement(archive: Archive, retirement: Retirement, seq: int | None) -> None:
    """Record the seq of the event that announces the retirement. Raises Unavailable, Indeterminate."""
    async with archive.begin_write() as conn:
        await conn.execute(update(retirements).where(_row_of(retirement)).values(announced_seq=seq))


async def is_announced(archive: Archive, retirement: Retirement) -> bool | None:
    """Return whether the announcement is archived; None if that is not known yet. Raises Unavailable."""
    here = (events.c.zone == retirement.zone, events.c.seq == retirement.announced_seq)
    async with archive.begin_read() as conn:
        row = (await conn.execute(select(events.c.type, events.c.data).where(*here))).one_or_none()
    return (row.type, row.data) == (RETIRED_TYPE, retirement.data) if row else None


async def delete_events(archive: Archive, retirement: Retirement) -> tuple[int, Retirement]:
    """Delete a batch of the events of an announced retirement, with their channels and their rows in quarantine. Return
    the number of deleted events, and the retirement after this batch. Raises Unavailable, Indeterminate.
    """
    zone, columns, channels = retirement.zone, events.c, event_channels.c
    async with archive.begin_write() as conn:
        found = (await conn.execute(_select_deletable(retirement))).all()
        reached = found[-1].seq if len(found) == ROWS_PER_BATCH else retirement.last_seq
        pairs = [{"of": channel, "at_seq": row.seq} for row in found for channel in dict.fromkeys(row.to.split())]
        if pairs:
            here = (channels.zone == zone, channels.channel == bindparam("of"), channels.seq == bindparam("at_seq"))
            await conn.execute(delete(event_channels).where(*here), pairs)
        seqs = [row.seq for row in found]
        await conn.execute(delete(events).where(columns.zone == zone, columns.seq.in_(seqs)))
        refused = (events_refused.c.zone == zone, events_refused.c.seq.between(retirement.deleted_to + 1, reached))
        await conn.execute(delete(events_refused).where(*refused))
        await conn.execute(update(retirements).where(_row_of(retirement)).values(deleted_to=reached))
    return len(found), retirement._replace(deleted_to=reached)


async def delete_jobs(archive: Archive, before: int) -> int:
    """Delete a batch of finished jobs that were booked before ``before`` (ms), with their offers, bids, waves and
    paths, and a batch of quotes that ended before that time. Payments and ratings stay. Return the number of deleted
    jobs and quotes. Raises Unavailable, Indeterminate.
    """
    over = (jobs.c.created_at < before, jobs.c.phase.in_(FINISHED_PHASES), jobs.c.hot.is_(False))
    async with archive.begin_write() as conn:
        found = list(
            (
                await conn.execute(select(jobs.c.id).where(*over).order_by(jobs.c.created_at).limit(ROWS_PER_BATCH))
            ).scalars()
        )
        for column in (offers.c.job, bids.c.job, job_states.c.job, job_paths.c.job, job_references.c.job, jobs.c.id):
            await conn.execute(delete(column.table).where(column.in_(found)))
        await file_rows.delete_rows(conn, archive, files.c.target.in_([f"job:{job}" for job in found]))
        old = select(quotes.c.id).where(quotes.c.expires_at < before).limit(ROWS_PER_BATCH)
        unused = list((await conn.execute(old)).scalars())
        await conn.execute(delete(quotes).where(quotes.c.id.in_(unused)))
    return len(found) + len(unused)


async def delete_rooms(archive: Archive, before: int) -> int:
    """Delete a batch of rooms that were closed before ``before`` (ms), with their messages. Return the number of rooms.
    Raises Unavailable, Indeterminate.
    """
    over = (rooms.c.state == "closed", rooms.c.closed_at < before)
    async with archive.begin_write() as conn:
        found = list((await conn.execute(select(rooms.c.id).where(*over).limit(ROWS_PER_BATCH))).scalars())
        for column in (messages.c.room, room_reads.c.room, room_members.c.room, rooms.c.id):
            await conn.execute(delete(column.table).where(column.in_(found)))
        await file_rows.delete_rows(conn, archive, files.c.target.in_([f"room:{room}" for room in found]))
    return len(found)


async def delete_notifications(archive: Archive, before: int) -> int:
    """Delete a batch of notifications older than ``before`` (ms). Return their number. Raises Unavailable,
    Indeterminate.
    """
    columns, reads = notifications.c, notification_reads.c
    async with archive.begin_write() as conn:
        old = select(columns.id, columns.user).where(columns.at < before).order_by(columns.at).limit(ROWS_PER_BATCH)
        found = (await conn.execute(old)).all()
        if found:
            read = (reads.user == bindparam("of"), reads.notification == bindparam("read_id"))
            await conn.execute(
                delete(notification_reads).where(*read), [{"of": r.user, "read_id": r.id} for r in found]
            )
            await conn.execute(delete(notifications).where(columns.id.in_([row.id for row in found])))
    return len(found)


async def delete_demand_hours(archive: Archive, before: int) -> int:
    """Delete the counts of requests of the oldest hour of each zone and kind of area, if it ended before ``before``
    (ms). Return their number. Raises Unavailable, Indeterminate.
    """
    columns, deleted = demand_hours.c, 0
    async with archive.begin_write() as conn:
        zones = list((await conn.execute(select(demand_progress.c.zone))).scalars())
        for zone, kind in itertools.product(zones, COUNT_KINDS):
            here = (columns.zone == zone, columns.kind == kind)
            oldest = (await conn.execute(select(func.min(columns.hour)).where(*here))).scalar()
            if oldest is not None and oldest < hour_of(before):
                deleted += (await conn.execute(delete(demand_hours).where(*here, columns.hour == oldest))).rowcount
    return deleted


def _select_deletable(retirement: Retirement) -> Select[tuple[int, str]]:
    columns = events.c
    live = exists().where(jobs.c.id == columns.job, or_(jobs.c.hot.is_(True), jobs.c.phase.not_in(FINISHED_PHASES)))
    span = (columns.zone == retirement.zone, columns.seq > retirement.deleted_to, columns.seq <= retirement.last_seq)
    kept = or_(*(columns.type.like(pattern) for pattern in _KEPT_TYPES))
    query = select(columns.seq, columns.to).where(*span, ~live, ~kept)
    return query.order_by(columns.seq).limit(ROWS_PER_BATCH)


def _row_of(retirement: Retirement) -> ColumnElement[bool]:
    columns = retirements.c
    return (columns.zone == retirement.zone) & (columns.first_seq == retirement.first_seq)
