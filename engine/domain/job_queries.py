"""Read jobs: one job, or a list (job_history.py: what happened to a job).

Live jobs are read from Redis, so that the result is never older than an event that the caller has received. Finished
jobs are read from SQL. A finished job stays in the indexes of Redis until it is archived, so that a list of both has no
gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from engine.archive import offer_reader, reader
from engine.archive.reader import JobFilter
from engine.blueprint.relation import relations
from engine.clock import now_ms
from engine.domain import job_view, jobs
from engine.domain.zones import readable_zones
from engine.errors import NotFound
from engine.events import ms_of
from engine.idempotency.in_redis import parse_job_id
from engine.roles import ALL_JOBS_READER_ROLES
from engine.rules import job_document
from engine.rules.job_document import JobView
from engine.sql.paging import check_limit, decode_cursor, encode_cursor
from engine.store import keys
from engine.store.scripts import Args
from engine.types import JobId, Phase, Principal, UserId, Zone
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

LIVE_PHASES: frozenset[Phase] = frozenset({"open", "assigned", "active"})
FINISHED_PHASES: frozenset[Phase] = frozenset({"done", "closed"})
LIVE_PAGE_SIZE = 200


class JobQuery(JobFilter, frozen=True, kw_only=True):
    """A query for a list of jobs: the filters and the page."""

    limit: int = 50
    cursor: str | None = None


class Page(msgspec.Struct, frozen=True):
    """A page of a list of JSON documents. ``as_of`` contains, for each zone, the seq up to which the page is
    complete.
    """

    items: list[bytes]
    next: str | None
    as_of: dict[str, dict[str, str | int]] = {}


async def read_job(engine: Engine, caller: Principal, job_id: str) -> bytes:
    """Return the view of one job for the caller: the whole job for participants, ops and services, the public part for
    a technician who was offered the job, has bid for it or may bid. Raises NotFound for all others.
    """
    zone, job = parse_job_id(job_id)
    try:
        record = await jobs.read_record(engine, caller, zone, job)
    except NotFound:
        return await _read_archived(engine, caller, job)
    full, public, bp, _, _, _, _, _, offer, bid, _ = record
    view, own_relations = job_document.decode_job(full), jobs.relations_to(caller, record)
    if not own_relations and not await _is_visible(engine, caller, view):
        raise NotFound("No such job")
    shown = full if jobs.sees_whole_job(caller, view) else public
    giver_relations = [r for r in own_relations if r != "offered" or offer.startswith(b"sent ")]
    blueprint = engine.blueprints.find_exact(bp.decode())
    if blueprint is None:
        return await job_view.view_job(engine, caller, None, shown, [])
    names = blueprint.actions(view, giver_relations, now=now_ms())
    impossible = "bid" if bid == b"open" else "withdraw"
    actions = [name for name in names if blueprint.commands[name].effect != impossible]
    return await job_view.view_job(engine, caller, blueprint, shown, actions)


async def _read_archived(engine: Engine, caller: Principal, job: JobId) -> bytes:
    document = await reader.job(engine.archive, job)
    if document is None or not await _is_visible(engine, caller, job_document.decode_job(document)):
        raise NotFound("No such job")
    return await job_view.view_archived_job(engine, caller, jobs.visible_part(caller, document))


async def _is_visible(engine: Engine, caller: Principal, job: JobView) -> bool:
    # A dispute can be resolved only in Redis. Therefore a mediator has no relation to a job that is only in SQL.
    if relations(caller, msgspec.structs.replace(job, frozen=False)):
        return True
    # The offers of a finished job leave Redis as soon as the job is archived.
    over = job.phase in FINISHED_PHASES and caller.role == "technician"
    return over and await offer_reader.was_offered(engine.archive, JobId(job.id), caller.id)


async def find_jobs(engine: Engine, caller: Principal, query: JobQuery) -> Page:
    """Return the caller's jobs, the newest first. Ops and services receive all jobs. The live jobs of a closed zone are
    omitted if other zones are open; ``as_of`` then lacks the zone.

    Raises Invalid for a wrong limit or cursor, Unavailable if finished jobs are wanted and SQL cannot be read.
    """
    limit = check_limit(query.limit)
    before: tuple[int, str] | None = decode_cursor(query.cursor, tuple[int, str]) if query.cursor else None
    job_filter = _caller_filter(caller, query)
    zones = readable_zones(engine)
    if job_filter is None:
        heads = await asyncio.gather(*(_log_head(engine, zone) for zone in zones))
        return Page([], None, dict(zip(zones, heads, strict=True)))
    found: dict[tuple[int, str], bytes] = {}
    reads = (_find_live(engine, caller, zone, job_filter, before, limit, found) for zone in zones)
    seqs = zip(zones, await asyncio.gather(*reads), strict=True)
    as_of: dict[str, dict[str, str | int]] = {
        zone: {"epoch": engine.store.zones[zone].epoch, "seq": seq} for zone, seq in seqs
    }
    if query.phase not in LIVE_PHASES:
        # SQL is behind the log, so that only Redis has the present state of a live job, and the values that decide who
        # may see which part of the job.
        documents, _ = await reader.jobs(engine.archive, job_filter, limit + 1, query.cursor, phases=FINISHED_PHASES)
        for document in documents:
            seen = jobs.visible_part(caller, document)
            if _filters_reveal_nothing(job_document.decode_job(seen), job_filter, caller):
                found.setdefault(_sort_key(job_document.decode_job(document)), seen)
    order = sorted(found, reverse=True)
    after = encode_cursor(*order[limit - 1]) if len(order) > limit else None
    items = await job_view.view_jobs(engine, caller, (found[position] for position in order[:limit]))
    return Page(items, after, as_of)


def _filters_reveal_nothing(job: JobView, job_filter: JobFilter, caller: Principal) -> bool:
    """Return whether this job may be in the caller's list. A job is left out if the caller filters by a value that is
    hidden from them in this job (customer, reference), because finding the job would reveal the value.
    """
    filters_hidden = caller.role == "technician" and (job_filter.customer or job_filter.reference)
    return not filters_hidden or job.customer is not None


async def live_jobs(engine: Engine, caller: Principal, limit: int) -> Page:
    """Return the caller's live jobs, the newest first, from Redis only. Ops and services receive all live jobs.

    A closed zone is omitted if other zones are open. ``next`` is a cursor for ``find_jobs``.
    """
    job_filter = _caller_filter(caller, JobQuery())
    found: dict[tuple[int, str], bytes] = {}
    if job_filter is not None:
        # One read for all phases: with one read per phase, a job that changes its phase in between would be missed.
        find = partial(_find_live, before=None, limit=limit, found=found, phases=LIVE_PHASES)
        await asyncio.gather(*(find(engine, caller, zone, job_filter) for zone in readable_zones(engine)))
    order = sorted(found, reverse=True)
    after = encode_cursor(*order[limit - 1]) if len(order) > limit else None
    return Page(await job_view.view_jobs(engine, caller, (found[position] for position in order[:limit])), after)


async def _log_head(engine: Engine, zone: Zone) -> dict[str, str | int]:
    head = await log.read_head(engine.store.read_connection, zone)
    return {"epoch": head.epoch, "seq": head.seq}


def _caller_filter(caller: Principal, query: JobQuery) -> JobFilter | None:
    """Return the query with a filter for the caller's own jobs; None if no job can match."""
    own: dict[str, Any] = {}
    if caller.role == "customer":
        own = {"customer": caller.id}
    elif caller.role == "technician":
        own = {"technician": caller.id}
    elif caller.role not in ALL_JOBS_READER_ROLES:
        return None
    filters = {name: getattr(query, name) for name in JobFilter.__struct_fields__}
    if any(filters[name] not in (None, mine) for name, mine in own.items()):
        return None
    return JobFilter(**(filters | own))


async def _find_live(
    engine: Engine,
    caller: Principal,
    zone: Zone,
    job_filter: JobFilter,
    before: tuple[int, str] | None,
    limit: int,
    found: dict[tuple[int, str], bytes],
    *,
    phases: Collection[Phase] = LIVE_PHASES | FINISHED_PHASES,
) -> int:
    """Add jobs from the live index to ``found``, page by page, until there are more than ``limit``. Return the zone's
    seq at the time of the first read: the list contains every change up to this seq.
    """
    own = caller.role in ("customer", "technician")
    index = keys.user_jobs(zone, UserId(caller.id)) if own else keys.jobs(zone)
    below: str = str(before[0]) if before else "+inf"
    count, as_of = 0, 0
    while count <= limit:
        names = {"meta": keys.zone_meta(zone), "index": index}
        technician = caller.id if caller.role == "technician" else ""
        args: Args = {"technician": technician, "below": below, "limit": LIVE_PAGE_SIZE}
        done = await engine.store.read(zone, "job_list", keys=names, args=args)
        as_of = as_of or done.seq
        rows = [done.values[i : i + 2] for i in range(0, len(done.values), 2)]
        for _, document in rows:
            job = job_document.decode_job(document)
            if (
                job.phase in phases
                and job_filter.matches(job_document.column_values(job))
                and (before is None or _sort_key(job) < before)
            ):
                found.setdefault(_sort_key(job), document)
                count += 1
        if len(rows) < LIVE_PAGE_SIZE or rows[-1][0].decode() == below:
            break
        below = rows[-1][0].decode()
    return as_of


def _sort_key(job: JobView) -> tuple[int, str]:
    return ms_of(job.created_at), job.id
