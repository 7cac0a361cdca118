"""Queries on the archive: events by channel for replay, jobs and their history, and the position of the archiver.

All functions that read from SQL raise Unavailable.

Events are read with one bounded query per channel. (Rejected: ``channel IN (…) ORDER BY seq LIMIT n``. For that a
database reads every row of a busy channel before it sorts them and returns n.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Select, func, select, union_all

from engine.archive.retired import retired_seq
from engine.events import Event, rfc3339_of
from engine.rules.event_payloads import EventBid
from engine.rules.job_document import EventJob
from engine.sql.database import Archive
from engine.sql.paging import decode_cursor, encode_cursor
from engine.sql.schema import checkpoints, event_channels, positions
from engine.sql.schema import epochs as epoch_rows
from engine.sql.schema import events as event_rows
from engine.sql.schema import events_refused as refused_rows
from engine.sql.schema import job_references as references
from engine.sql.schema import jobs as job_rows
from engine.types import Epoch, JobId, Phase, TechnicianId, UserId, Zone

MAX_CHANNELS_PER_QUERY = 50
"""The most channels in one compound query, which has a part for each channel. SQLite allows 500 parts; fewer parts are
parsed faster."""


class Checkpoint(msgspec.Struct, frozen=True):
    """The position up to which a zone's log is archived: ``seq`` is the last archived event, written in ``epoch``."""

    epoch: Epoch
    seq: int


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The filter of a list of jobs: values of the jobs' columns (engine/rules/job_document.py), and a lower bound for
    ``updated_at`` in ms since the Unix epoch. A field that is None does not filter.
    """

    zone: Zone | None = None
    phase: Phase | None = None
    status: str | None = None
    customer: UserId | None = None
    technician: TechnicianId | None = None
    reference: str | None = None
    updated_after: int | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns that must be equal, with their values."""
        values = msgspec.structs.asdict(self)
        return {name: value for name, value in values.items() if value is not None and name != "updated_after"}

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Return whether a job with the columns ``row`` belongs to the list."""
        equal = all(row[name] == value for name, value in self.columns().items())
        return equal and (self.updated_after is None or row["updated_at"] > self.updated_after)


class HistoryItem(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a job: when, by whom (``role:id`` or ``engine``), from which state to which, and why. If the change
    did not move the job, ``from`` and ``to`` are both the state at that time, or None if the event does not contain the
    state. ``cause`` is the request key; ``occurred_at`` is the time by the client's clock, if the client reported the
    change later.
    """

    seq: int
    at: str
    actor: str
    command: str
    from_state: str | None = msgspec.field(name="from", default=None)
    to: str | None
    reason: str | None
    cause: str | None
    occurred_at: str | None = None


class ArchivedPosition(msgspec.Struct, frozen=True):
    """The last stored position of a technician. ``at`` is in ms since the Unix epoch."""

    technician: TechnicianId
    lat: float
    lon: float
    at: int


# Progress of the archive


async def checkpoint(archive: Archive, zone: Zone) -> Checkpoint | None:
    """Return the position up to which the zone is archived; None if nothing is archived."""
    async with archive.begin_read() as conn:
        query = select(checkpoints.c.epoch, checkpoints.c.seq).where(checkpoints.c.zone == zone)
        row = (await conn.execute(query)).one_or_none()
    return Checkpoint(Epoch(row.epoch), row.seq) if row else None


async def epochs(archive: Archive, zone: Zone) -> dict[Epoch, int]:
    """Return the first seq of each epoch, in order."""
    async with archive.begin_read() as conn:
        columns = epoch_rows.c
        query = (
            select(columns.epoch, columns.first_seq)
            .where(columns.zone == zone)
            .order_by(columns.first_seq, columns.epoch)
        )
        return {Epoch(row.epoch): row.first_seq for row in await conn.execute(query)}


async def first_seq(archive: Archive, zone: Zone) -> int | None:
    """Return the lowest seq from which the archive can replay without a gap: the first archived event after the last
    event that could not be stored or that was retired. None if there is none.
    """
    lost = (refused_rows.c.zone == zone) & refused_rows.c.kept.is_(False)
    async with archive.begin_read() as conn:
        last_lost: int | None = (await conn.execute(select(func.max(refused_rows.c.seq)).where(lost))).scalar()
        last_missing = max(last_lost or 0, await retired_seq(conn, zone))
        archived = (event_rows.c.zone == zone) & (event_rows.c.seq > last_missing)
        first: int | None = (await conn.execute(select(func.min(event_rows.c.seq)).where(archived))).scalar()
    return first


async def count_quarantined(archive: Archive, zone: Zone) -> int:
    """Return the number of the zone's events in quarantine."""
    async with archive.begin_read() as conn:
        query = select(func.count()).select_from(refused_rows).where(refused_rows.c.zone == zone)
        return (await conn.execute(query)).scalar() or 0


# Events


async def events(
    archive: Archive, zone: Zone, after: int, last_seq: int, channels: Collection[str] | Mapping[str, int], limit: int
) -> list[Event]:
    """Return at most ``limit`` events with ``after`` < seq ≤ ``last_seq`` on any of ``channels``, in order. If
    ``channels`` is a mapping, it contains a seq for each channel: events up to that seq are left out. The channel
    ``zone:<zone>`` matches all events.
    """
    floors = channels if isinstance(channels, Mapping) else dict.fromkeys(channels, 0)
    span = (event_rows.c.zone == zone, event_rows.c.seq > after, event_rows.c.seq <= last_seq)
    query = select(event_rows).where(*span).order_by(event_rows.c.seq).limit(limit)
    async with archive.begin_read() as conn:
        if f"zone:{zone}" in channels:
            return [event_of_row(row) for row in (await conn.execute(query)).mappings()]
        found: set[int] = set()
        wanted = list(channels)
        for start in range(0, len(wanted), MAX_CHANNELS_PER_QUERY):
            some = wanted[start : start + MAX_CHANNELS_PER_QUERY]
            parts = [
                _select_channel_events(zone, max(after, floors[channel]), last_seq, channel, limit) for channel in some
            ]
            found.update((await conn.execute(union_all(*parts))).scalars())
        seqs = sorted(found)[:limit]
        rows = query.where(event_rows.c.seq.in_(seqs))
        return [event_of_row(row) for row in (await conn.execute(rows)).mappings()]


def _select_channel_events(zone: Zone, after: int, last_seq: int, channel: str, limit: int) -> Select[Any]:
    """Return the query for the seqs of one channel."""
    columns = event_channels.c
    part = (
        select(columns.seq)
        .where(columns.zone == zone, columns.channel == channel, columns.seq > after, columns.seq <= last_seq)
        .order_by(columns.seq)
        .limit(limit)
    )
    return select(part.subquery().c.seq)


async def event(archive: Archive, zone: Zone, seq: int) -> Event | None:
    """Return the event with this ``seq``, or None if it is not archived."""
    query = select(event_rows).where(event_rows.c.zone == zone, event_rows.c.seq == seq)
    async with archive.begin_read() as conn:
        row = (await conn.execute(query)).mappings().one_or_none()
    return event_of_row(row) if row else None


async def job_events(archive: Archive, job_id: JobId, types: Iterable[str]) -> list[Event]:
    """Return the archived events of these types about a job, in order."""
    columns = event_rows.c
    query = select(event_rows).where(columns.job == job_id, columns.type.in_(list(types))).order_by(columns.seq)
    async with archive.begin_read() as conn:
        return [event_of_row(row) for row in (await conn.execute(query)).mappings()]


async def blueprint_key_of(archive: Archive, job_id: JobId) -> str:
    """Return the blueprint (``name@version``) of a job's last event; "" if no archived event names a blueprint."""
    columns = event_rows.c
    query = select(columns.bp).where(columns.job == job_id, columns.bp != "").order_by(columns.seq.desc()).limit(1)
    async with archive.begin_read() as conn:
        return (await conn.execute(query)).scalar() or ""


def event_of_row(row: Mapping[Any, Any]) -> Event:
    return Event(
        zone=Zone(row["zone"]),
        seq=row["seq"],
        type=row["type"],
        to=tuple(row["to"].split()),
        at=row["at"],
        actor=row["actor"],
        blueprint_key=row["bp"],
        data=row["data"].encode(),
        cause=row["cause"],
        trace=row["trace"],
    )


# Jobs


async def job(archive: Archive, job_id: JobId) -> bytes | None:
    """Return the whole job as JSON, as it was in its last archived event; None if the job is not archived."""
    async with archive.begin_read() as conn:
        doc = (await conn.execute(select(job_rows.c.doc).where(job_rows.c.id == job_id))).scalar()
    return doc.encode() if doc is not None else None


async def jobs(
    archive: Archive,
    job_filter: JobFilter,
    limit: int,
    before: str | None = None,
    *,
    phases: Collection[Phase] | None = None,
) -> tuple[list[bytes], str | None]:
    """Return whole jobs as JSON, the newest first, and the cursor (``before``) of the next page or None. With
    ``phases``, only jobs in these phases.

    Raises Invalid for a malformed cursor.
    """
    columns = job_rows.c
    query = (
        select(columns.doc, columns.created_at, columns.id)
        .order_by(columns.created_at.desc(), columns.id.desc())
        .limit(limit + 1)
    )
    for name, value in job_filter.columns().items():
        query = query.where(columns[name] == value)
    if phases is not None:
        query = query.where(columns.phase.in_(phases))
    if job_filter.updated_after is not None:
        query = query.where(columns.updated_at > job_filter.updated_after)
    if before is not None:
        at, last = decode_cursor(before, tuple[int, str])
        query = query.where((columns.created_at < at) | ((columns.created_at == at) & (columns.id < last)))
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
    more = encode_cursor(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None
    return [row.doc.encode() for row in rows[:limit]], more


class BookedJob(NamedTuple):
    """A booked job, and the fingerprint of the booking; "" if the fingerprint is not archived."""

    job: JobId
    fingerprint: str


async def job_of_reference(archive: Archive, principal: UserId, reference: str) -> BookedJob | None:
    """Return the job that ``principal`` booked under ``reference``; None if no such job is archived. The fingerprint is
    read from the job's first event.
    """
    query = select(references.c.job).where(references.c.principal == principal, references.c.reference == reference)
    made = event_rows.c.type == "job.created"
    async with archive.begin_read() as conn:
        job = (await conn.execute(query)).scalar()
        if job is None:
            return None
        asked = select(event_rows.c.cause).where(event_rows.c.job == job, made).order_by(event_rows.c.seq).limit(1)
        cause = (await conn.execute(asked)).scalar() or ""
    return BookedJob(job, cause.partition(":")[2])


async def history(archive: Archive, job_id: JobId) -> list[HistoryItem]:
    """Return all archived changes of the job, in order."""
    query = select(event_rows).where(event_rows.c.job == job_id).order_by(event_rows.c.seq)
    async with archive.begin_read() as conn:
        found = [event_of_row(row) for row in (await conn.execute(query)).mappings()]
    return [item for each in found if (item := history_item(each, job_id)) is not None]


class _EventProposal(msgspec.Struct):
    reason: str | None = None


class _HistoryData(msgspec.Struct):
    """The members of an event's data from which an item of the history is made."""

    job: EventJob | None = None
    bid: EventBid | None = None
    proposal: _EventProposal | None = None
    purpose: str | None = None
    from_state: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    command: str | None = None
    reason: str | None = None
    why: str | None = None
    occurred_at: str | None = None


_history_data_decoder = msgspec.json.Decoder(_HistoryData)
_COMMAND_OF_EVENT = {
    "job.created": "create",
    "job.updated": "edit",
    "job.accepted": "claim",
    "job.assigned": "assign",
    "job.unassigned": "unassign",
    "job.cancelled": "cancel",
    "job.expired": "expire",
    "bid.created": "bid",
    "bid.accepted": "accept_bid",
    "bid.closed": "close_bid",
    "price.proposed": "propose_price",
    "price.changed": "change_price",
    "price.rejected": "reject_price",
    "payment.requested": "request_payment",
    "payment.authorized": "authorize",
    "payment.released": "release_payment",
    **dict.fromkeys(("payment.received", "payment.unexpected"), "capture"),
    "payment.refunded": "refund",
    "payment.failed": "fail_payment",
    "file.added": "add_photo",
    "code.failed": "enter_code",
    "code.locked": "lock_code",
}
"""The command of event types whose data names none. A history has these and all ``job.`` types, but no offers."""


def history_item(event: Event, job: JobId) -> HistoryItem | None:
    """Return the item that ``event`` adds to the history of ``job``, or None if the event did not change the job. The
    function is pure, so that events that are not archived yet give the same items.
    """
    kind = event.type
    if kind not in _COMMAND_OF_EVENT and not kind.startswith("job."):
        return None
    try:
        data = _history_data_decoder.decode(event.data)
    except msgspec.DecodeError:
        return None
    if kind == "payment.unexpected" and data.why != "other_currency":  # another event already shows this payment
        return None
    about = data.job or EventJob(id=data.bid.job if data.bid else "")
    # No item: a second event with the public part for technicians, or job.searching, which only names the job.
    if about.id != job or (kind.startswith("job.") and about.customer is None):
        return None
    to = data.to or about.status or None
    stays = kind == "job.updated" or not kind.startswith("job.")
    return HistoryItem(
        seq=event.seq,
        at=rfc3339_of(event.at),
        actor=event.actor,
        command=data.command or _COMMAND_OF_EVENT.get(kind, kind.removeprefix("job.")),
        from_state=data.from_state or (to if stays else None),
        to=to,
        reason=data.reason or data.why or (data.proposal.reason if data.proposal else data.purpose),
        cause=event.cause.partition(":")[0] or None,
        occurred_at=data.occurred_at,
    )


# Positions


async def last_positions(archive: Archive, zone: Zone) -> list[ArchivedPosition]:
    """Return the last stored positions of the zone's technicians."""
    columns = positions.c
    async with archive.begin_read() as conn:
        rows = await conn.execute(
            select(columns.technician, columns.lat, columns.lon, columns.at).where(columns.zone == zone)
        )
        return [ArchivedPosition(TechnicianId(row.technician), row.lat, row.lon, row.at) for row in rows]
