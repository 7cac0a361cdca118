"""Read from SQL what determines the keys of jobs, a page of jobs at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Select, or_, select

from engine.archive import reader
from engine.archive.projection import FINISHED_PHASES
from engine.events import Event
from engine.rebuild.job_contents import JobRows
from engine.rebuild.job_dealings import BidRow
from engine.sql.database import Archive
from engine.sql.job_tables import job_states
from engine.sql.schema import bids, events, jobs
from engine.types import JobId, Zone

SearchMode = Callable[[str, str], str]
"""The type of a function that returns how the state (the second argument) of a blueprint (``name@version``) searches
for a technician."""


async def live_job_ids(archive: Archive, zone: Zone, after: str, limit: int) -> list[JobId]:
    """Return the ids of the next ``limit`` live jobs of the zone after the id ``after``, in the order of ids. A job is
    live, and its keys in Redis do not expire, until it is finished and Redis was notified that it is archived.
    """
    columns = jobs.c
    is_live = or_(columns.hot.is_(True), columns.phase.not_in(FINISHED_PHASES))
    query = (
        select(columns.id).where(columns.zone == zone, is_live, columns.id > after).order_by(columns.id).limit(limit)
    )
    async with archive.begin_read() as conn:
        return [JobId(job) for job in (await conn.execute(query)).scalars()]


async def read_job_rows(archive: Archive, zone: Zone, ids: Sequence[JobId], search_mode: SearchMode) -> list[JobRows]:
    """Return what SQL has of the jobs ``ids``, without those of which no event with the whole job is archived.

    Raises Unavailable.
    """
    states: dict[str, list[tuple[int, str]]] = defaultdict(list)
    bids_of: dict[str, list[BidRow]] = defaultdict(list)
    events_of: dict[str, list[Event]] = defaultdict(list)
    async with archive.begin_read() as conn:
        query = select(jobs.c.id, jobs.c.status, jobs.c.doc).where(jobs.c.id.in_(ids))
        found = {job: (status, document) for job, status, document in await conn.execute(query)}
        columns = job_states.c
        changes = select(columns.job, columns.seq, columns.state).where(columns.job.in_(ids))
        for job, seq, state in await conn.execute(changes.order_by(columns.job, columns.seq)):
            states[job].append((seq, state))
        for row in await conn.execute(select(bids).where(bids.c.job.in_(ids))):
            bids_of[row.job].append(BidRow(row.technician, row.created_at, row.updated_at, row.doc.encode()))
        for job, seq, kind, at, actor, cause, data in await conn.execute(_select_events(ids)):
            events_of[job].append(Event(zone, seq, kind, (), at, actor, "", data.encode(), cause))
    rows = []
    for job in ids:
        if job not in found:
            continue
        status, document = found[job]
        key = "" if states[job] else await reader.blueprint_key_of(archive, job)
        rows.append(
            JobRows(
                zone=zone,
                id=job,
                document=document.encode(),
                states=states[job],
                bids=bids_of[job],
                events=events_of[job],
                blueprint_key=key,
                search_mode=search_mode(key, status) if key else "none",
            )
        )
    return rows


def _select_events(ids: Sequence[JobId]) -> Select[Any]:
    """Return the query for what a job's keys need of its events that have a cause or report a payment."""
    columns = events.c
    is_wanted = or_(columns.cause != "", columns.type.like("payment.%"))
    return (
        select(columns.job, columns.seq, columns.type, columns.at, columns.actor, columns.cause, columns.data)
        .where(columns.job.in_(ids), is_wanted)
        .order_by(columns.job, columns.seq)
    )
