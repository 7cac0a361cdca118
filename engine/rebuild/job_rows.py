"""Read from SQL what determines the keys of jobs, a page of jobs at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from sqlalchemy import or_, select

from engine.archive import reader
from engine.archive.projection import FINISHED_PHASES
from engine.events import Event
from engine.rebuild.job_contents import JobRows
from engine.rebuild.job_dealings import BidRow
from engine.sql.database import Archive
from engine.sql.id_lists import read_among
from engine.sql.schema import jobs
from engine.types import JobId, Zone

_SELECT_STATES = "SELECT job, seq, state FROM job_states WHERE job"
_SELECT_BIDS = "SELECT job, technician, created_at, updated_at, doc FROM bids WHERE job"
_SELECT_EVENTS = """SELECT job, seq, type, at, actor, cause, data FROM events
    WHERE (cause <> '' OR type LIKE 'payment.%') AND job"""
"""What a job's keys need of its events: of those that have a cause or report a payment."""
_IN_ORDER = "ORDER BY job, seq"
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
        rows_of_jobs = await read_among(conn, "SELECT id, status, doc FROM jobs WHERE id", ids)
        found = {job: (status, document) for job, status, document in rows_of_jobs}
        in_order = "ORDER BY job, seq"
        for job, seq, state in await read_among(
            conn, "SELECT job, seq, state FROM job_states WHERE job", ids, in_order
        ):
            states[job].append((seq, state))
        for job, technician, created, updated, document in await read_among(conn, _SELECT_BIDS, ids):
            bids_of[job].append(BidRow(technician, created, updated, document.encode()))
        for job, seq, kind, at, actor, cause, data in await read_among(conn, _SELECT_EVENTS, ids, _IN_ORDER):
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
