"""Looking at jobs: one, a list, its history, its waves.

Live jobs are read from Redis, where they are never behind an event already given to the caller; finished ones from
SQL. A finished job stays in the hot indexes until it is archived, so that a list of both has no gap between them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import msgspec

from engine.archive import reader
from engine.archive.reader import HistoryItem, JobFilter
from engine.blueprint.schema import relations
from engine.domain import job_view, jobs
from engine.errors import Forbidden, NotFound
from engine.events import ms_of
from engine.idempotency.in_redis import located
from engine.rules import job_document
from engine.rules.job_document import JobView
from engine.sql.paging import check_limit, decode_cursor, encode_cursor
from engine.store import keys
from engine.store.scripts import Args
from engine.types import JobId, Phase, Principal, UserId, Zone
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

LIVE: frozenset[Phase] = frozenset({"open", "assigned", "active"})
OVER: frozenset[Phase] = frozenset({"done", "closed"})
HOT_PAGE = 200
TAIL = 5_000


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; ``updated_after`` is ms since the Unix epoch."""

    phase: Phase | None = None
    status: str | None = None
    customer: str | None = None
    technician: str | None = None
    reference: str | None = None
    updated_after: int | None = None
    limit: int = 50
    cursor: str | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of JSON documents; ``as_of`` says by zone up to which seq it knows of everything."""

    items: list[bytes]
    next: str | None
    as_of: dict[str, dict[str, str | int]] = {}


class _Wave(msgspec.Struct):
    """What of a wave's record decides where it stands in a list."""

    at: str
    wave: int


_wave = msgspec.json.Decoder(_Wave)


async def read(engine: Engine, caller: Principal, job_id: str) -> bytes:
    """One job as the caller may see it, with what ``replies.one`` adds: all of it for participants, ops and services,
    its public part for a technician who was offered it, has bid for it or could. Raises NotFound for everybody else.
    """
    zone, job = located(job_id)
    places = {"meta": keys.meta(zone), "job": keys.job(zone, job), "offers": keys.offers(zone, job)}
    technician = caller.id if caller.role == "technician" else ""
    try:
        done = await engine.store.read(zone, "job_read", keys=places, args={"technician": technician})
    except NotFound:
        return await _read_archived(engine, caller, job)
    full, public, bp, status, _, _, holder, _, offer, bid, _ = done.rest
    found, stands = job_document.view(full), jobs.stands_in(caller, done.rest)
    if not stands:
        raise NotFound("No such job")
    shown = full if jobs.sees_whole(caller, found) else public
    giving = [r for r in stands if r != "offered" or offer.startswith(b"sent ")]
    blueprint = engine.blueprints.exactly(bp.decode())
    if blueprint is None:
        return await job_view.one(engine, caller, None, shown, [])
    at, early, held = found.at, jobs.is_early(found, blueprint), holder != b""
    names = blueprint.actions(status.decode(), giving, at=at, frozen=found.frozen, held=held, early=early)
    done_with = "bid" if bid == b"open" else "withdraw"
    actions = [name for name in names if blueprint.commands[name].does != done_with]
    return await job_view.one(engine, caller, blueprint, shown, actions)


async def _read_archived(engine: Engine, caller: Principal, job: JobId) -> bytes:
    document = await reader.job(engine.archive, job)
    if document is None or not _may_see(caller, job_document.view(document)):
        raise NotFound("No such job")
    return await job_view.archived(engine, caller, jobs.as_seen(caller, document))


def _may_see(caller: Principal, job: JobView) -> bool:
    customer, holder = job.customer_id, job.holder_id
    return bool(relations(caller.role, caller.id, customer=customer, holder=holder, offered=False))


async def find(engine: Engine, caller: Principal, query: JobQuery) -> Page:
    """The caller's jobs, the newest first; everybody's for ops and services.

    Raises Invalid for limit or cursor, Unavailable where finished jobs are asked for and SQL is away.
    """
    limit = check_limit(query.limit)
    before: tuple[int, str] | None = decode_cursor(query.cursor, tuple[int, str]) if query.cursor else None
    wanted = _narrowed(caller, query)
    if wanted is None:
        return Page([], None, {zone: await _as_of(engine, zone) for zone in engine.store.zones})
    found: dict[tuple[int, str], bytes] = {}
    as_of: dict[str, dict[str, str | int]] = {}
    for zone, state in engine.store.zones.items():
        seq = await _find_hot(engine, caller, zone, wanted, before, limit, found)
        as_of[zone] = {"epoch": state.epoch, "seq": seq}
    if query.phase not in LIVE:
        # Of a job that goes on only Redis knows the present state, and so who may see what of it: SQL trails the log.
        documents, _ = await reader.jobs(engine.archive, wanted, limit + 1, query.cursor, phases=OVER)
        for document in documents:
            seen = jobs.as_seen(caller, document)
            if _tells_no_more(job_document.view(seen), wanted, caller):
                found.setdefault(_place(job_document.view(document)), seen)
    order = sorted(found, reverse=True)
    after = encode_cursor(*order[limit - 1]) if len(order) > limit else None
    items = await job_view.many(engine, caller, (found[place] for place in order[:limit]))
    return Page(items, after, as_of)


def _tells_no_more(job: JobView, wanted: JobFilter, caller: Principal) -> bool:
    """Whether finding a job tells the caller nothing that it does not show: not whose it is, nor its reference."""
    asked = caller.role == "technician" and (wanted.customer or wanted.reference)
    return not asked or job.customer is not None


async def live(engine: Engine, caller: Principal, limit: int) -> Page:
    """The caller's jobs that are not over, the newest first, from Redis alone; everybody's for ops and services.

    A zone that is closed is left out where there are others. ``next`` goes on in ``find``.
    """
    wanted = _narrowed(caller, JobQuery())
    found: dict[tuple[int, str], bytes] = {}
    for zone, state in engine.store.zones.items():
        if wanted is None or (not state.open and len(engine.store.zones) > 1):
            continue
        # All phases in one reading: a job that moves on between a reading for each would be in none of them.
        await _find_hot(engine, caller, zone, wanted, None, limit, found, phases=LIVE)
    order = sorted(found, reverse=True)
    after = encode_cursor(*order[limit - 1]) if len(order) > limit else None
    return Page(await job_view.many(engine, caller, (found[place] for place in order[:limit])), after)


async def _as_of(engine: Engine, zone: Zone) -> dict[str, str | int]:
    head = await log.head(engine.store.reads, zone)
    return {"epoch": head.epoch, "seq": head.seq}


def _narrowed(caller: Principal, query: JobQuery) -> JobFilter | None:
    """The query with the caller's own bounds; None where both cannot hold."""
    own: dict[str, Any] = {}
    if caller.role == "customer":
        own = {"customer": caller.id}
    elif caller.role == "technician":
        own = {"technician": caller.id}
    elif not caller.is_ops and caller.role != "service":
        return None
    asked = {"customer": query.customer, "technician": query.technician}
    if any(asked[name] not in (None, mine) for name, mine in own.items()):
        return None
    parties: dict[str, Any] = {**asked, **own}
    return JobFilter(
        phase=query.phase,
        status=query.status,
        reference=query.reference,
        updated_after=query.updated_after,
        **parties,
    )


async def _find_hot(
    engine: Engine,
    caller: Principal,
    zone: Zone,
    wanted: JobFilter,
    before: tuple[int, str] | None,
    limit: int,
    found: dict[tuple[int, str], bytes],
    *,
    phases: Collection[Phase] = LIVE | OVER,
) -> int:
    """Add what the hot index holds, a page at a time, until there is one more than is wanted."""
    own = caller.role in ("customer", "technician")
    index = keys.user_jobs(zone, UserId(caller.id)) if own else keys.jobs(zone)
    below: str = str(before[0]) if before else "+inf"
    met, as_of = 0, 0
    while met <= limit:
        names = {"meta": keys.meta(zone), "index": index}
        technician = caller.id if caller.role == "technician" else ""
        args: Args = {"technician": technician, "below": below, "limit": HOT_PAGE}
        done = await engine.store.read(zone, "job_list", keys=names, args=args)
        as_of = as_of or done.seq
        rows = [done.rest[i : i + 2] for i in range(0, len(done.rest), 2)]
        for _, document in rows:
            job = job_document.view(document)
            if (
                job.phase in phases
                and wanted.matches(job_document.columns(job))
                and (before is None or _place(job) < before)
            ):
                found.setdefault(_place(job), document)
                met += 1
        if len(rows) < HOT_PAGE or rows[-1][0].decode() == below:
            break
        below = rows[-1][0].decode()
    return as_of


def _place(job: JobView) -> tuple[int, str]:
    return ms_of(job.created_at), job.id


async def history(engine: Engine, caller: Principal, job_id: str) -> list[HistoryItem]:
    """Every change of a job in the order of the log: the archive's part, then what is not archived yet."""
    zone, job = located(job_id)
    if job_document.view(await read(engine, caller, job_id)).customer is None:
        raise NotFound("No such job")
    # The log's end before SQL: what is archived in between is met twice, never missed.
    reached = await reader.checkpoint(engine.archive, zone)
    tail = await log.window(engine.store.reads, zone, reached.seq if reached else 0, TAIL)
    name = f'"{job}"'.encode()  # another job's metadata may name it too: the event's own job decides
    late = [item for event in tail if name in event.data and (item := reader.history_item(event, job))]
    both = {item.seq: item for item in (*late, *await reader.history(engine.archive, job))}
    return [both[seq] for seq in sorted(both)]


async def waves(engine: Engine, caller: Principal, job_id: str) -> list[bytes]:
    """Each look for candidates, the first one first: who was in, and who was out and why. Raises Forbidden."""
    if not caller.is_ops:
        raise Forbidden("Only ops may see whom a job was offered to")
    zone, job = located(job_id)
    if not await engine.store.command("EXISTS", keys.job(zone, job)):
        raise NotFound("No such job, or it was archived more than a day ago")
    rows: list[bytes] = await engine.store.command("LRANGE", keys.waves(zone, job), 0, -1)
    return rows[::-1]


def place_of_wave(wave: bytes) -> tuple[str, int]:
    """Where a look for candidates stands in a list."""
    found = _wave.decode(wave)
    return found.at, found.wave
