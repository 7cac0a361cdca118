"""Apply one batch to SQL, together with the new checkpoint.

The checkpoint moves first, by compare-and-set. If two archivers apply the same batch, the second waits on the
checkpoint's row and then finds that the checkpoint has moved. Therefore no event is applied twice and none is skipped,
with any number of archivers, and even if they die at any point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Table, delete, select, update
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive import (
    demand_quotes,
    demand_rows,
    file_rows,
    ledger_rows,
    quote_rows,
    receipt_rows,
    room_rows,
    technician_rows,
)
from engine.archive.offer_reader import HAS_WAVES
from engine.archive.projection import CHANNEL_COLUMNS, FINISHED_PHASES, Batch, Row
from engine.archive.reader import ArchivedPosition, Checkpoint
from engine.audit import heads, trees
from engine.audit.server_keys import HeadKey
from engine.audit.trees import HashedEntries
from engine.sql.database import Archive
from engine.sql.insert import Upsert, insert_into, insert_rows, insert_tuples, upsert_rows
from engine.sql.job_tables import job_states
from engine.sql.row_statement import RowStatement
from engine.sql.schema import (
    bids,
    checkpoints,
    epochs,
    event_channels,
    events,
    events_refused,
    job_references,
    jobs,
    notifications,
    offers,
    payments,
    positions,
)
from engine.types import Epoch, Zone

VALUE_REFUSED_ERRORS = (DataError, IntegrityError, OverflowError, UnicodeError)
"""The errors with which the database or its driver refuses a value. It would refuse the value again at a retry."""


BOOKED_COLUMNS = ("zone", "blueprint", "customer", "created_at")
"""The columns of a job that no event changes. SQLite would write their indexes again with each change of the job."""
_ANSWER_OFFERS = RowStatement(
    """
    UPDATE offers SET status = n.status, reason = n.reason, answered_at = n.answered_at
    FROM n WHERE offers.job = n.job AND offers.technician = n.technician""",
    {"job": "text", "technician": "text", "status": "text", "reason": "text", "answered_at": "bigint"},
)


class Superseded(Exception):
    """Raised when another archiver has moved the checkpoint since this archiver read it. Nothing was applied."""


class LogMismatch(Exception):
    """Raised when the log and the archive contradict each other: their epochs belong to different logs, or the archive
    has a row in the place of an event that is not archived yet.
    """


async def apply_batch(
    archive: Archive,
    zone: Zone,
    batch: Batch,
    *,
    before: Checkpoint | None,
    after: Checkpoint,
    in_redis: Mapping[Epoch, int],
    head_key: HeadKey | None = None,
) -> str | None:
    """Apply ``batch``, which begins right after ``before`` and ends at ``after``, in one transaction. Return the note
    of the audit tree's head if one was due and was signed with ``head_key``.

    ``in_redis`` are the epochs in Redis with their first seqs. Raises Superseded, LogMismatch, the same errors as
    ``Archive.begin_write``, and one of ``VALUE_REFUSED_ERRORS`` if the database refuses a row.
    """
    new_leaves = _hash_leaves(zone, batch)
    async with archive.begin_write() as conn:
        upsert = partial(insert_into, archive)
        await _move_checkpoint(conn, upsert, zone, before, after, archive.known_format)
        await _check_epochs(conn, zone, in_redis, before.seq if before else 0, after.seq)
        await insert_rows(conn, events, batch.events)
        await insert_tuples(conn, event_channels, CHANNEL_COLUMNS, batch.channels)
        await technician_rows.settle_holders(conn, batch.technicians)
        await upsert_rows(conn, upsert, jobs, list(batch.jobs.values()), unchanged_columns=BOOKED_COLUMNS)
        await insert_rows(conn, job_references, batch.references, upsert)
        await upsert_rows(conn, upsert, offers, list(batch.offers.rows.values()))
        await _ANSWER_OFFERS.run(conn, batch.offers.answer_rows)
        await _upsert_bids_or_payments(conn, upsert, bids, batch.bids)
        await _upsert_bids_or_payments(conn, upsert, payments, batch.payments)
        await insert_rows(conn, notifications, batch.notifications, upsert)
        await insert_rows(conn, job_states, batch.job_states)
        # This must run before the quotes are marked as used.
        demand = await demand_quotes.count_quotes(conn, zone, batch.demand)
        await quote_rows.apply_rows(conn, batch.quotes)
        await receipt_rows.apply_rows(conn, batch.receipts, head_key.receipts if head_key else None)
        await file_rows.apply_rows(conn, batch.files)
        await room_rows.apply_rows(conn, upsert, batch.rooms)
        await room_rows.move_progress(conn, upsert, zone, before.seq if before else None, after.seq)
        await technician_rows.apply_rows(conn, zone, batch.technicians)
        if await demand_rows.move_progress(conn, upsert, zone, before.seq if before else None, after.seq):
            await demand_rows.add_counts(conn, upsert, zone, demand)
        if await ledger_rows.move_progress(conn, upsert, zone, before.seq if before else None, after.seq):
            await ledger_rows.apply_rows(conn, upsert, zone, batch.ledger)
        await insert_rows(conn, events_refused, batch.quarantined)
        return await _append_to_audit(conn, archive, zone, new_leaves, head_key) if new_leaves else None


def _hash_leaves(zone: Zone, batch: Batch) -> HashedEntries | None:
    """Return the leaves of the batch for the audit tree, or None if the batch has no events. Call this before the
    transaction of the batch, so that SQLite's other writers do not wait for the hashing. Raises Superseded.
    """
    entries = trees.entries_of_batch(batch.events, batch.quarantined)
    try:
        return trees.hash_entries(zone, entries) if entries else None
    except trees.TreeGap as error:
        raise Superseded(str(error)) from error


async def _append_to_audit(
    conn: AsyncConnection, archive: Archive, zone: Zone, new: HashedEntries, head_key: HeadKey | None
) -> str | None:
    """Append the leaves of new events to the zone's audit tree. Return the text of the signed head, if the tree grew
    past a size at which one is signed. Raises Superseded if another archiver has appended leaves meanwhile.
    """
    try:
        state = await trees.append_leaves(conn, zone, new)
    except (trees.TreeGap, trees.TreeChanged) as error:
        raise Superseded(str(error)) from error
    return await heads.sign_crossing(conn, archive, zone, state, len(new.hashes), head_key) if head_key else None


async def mark_archived(archive: Archive, finished: Mapping[str, bool]) -> None:
    """Record in SQL that Redis was notified that these finished jobs are archived. The value of a job is True if it is
    finished in Redis too. Then its rows of ``job_states`` are deleted: if the job changes again, its next event
    contains its whole state. Rows with waves stay, because Redis deletes the waves.
    """
    is_finished = jobs.c.id.in_(list(finished)) & jobs.c.phase.in_(FINISHED_PHASES)
    over = [job for job, is_over in finished.items() if is_over]
    async with archive.begin_write() as conn:
        await conn.execute(update(jobs).where(is_finished).values(hot=False))
        await conn.execute(delete(job_states).where(job_states.c.job.in_(over), ~HAS_WAVES))


async def unarchived_jobs(archive: Archive, zone: Zone, limit: int) -> list[str]:
    """Return at most ``limit`` finished jobs that are archived, but that Redis may not know to be archived, because an
    archiver died between its commit and the notification.
    """
    over = (jobs.c.zone == zone, jobs.c.hot.is_(True), jobs.c.phase.in_(FINISHED_PHASES))
    async with archive.begin_read() as conn:
        return list((await conn.execute(select(jobs.c.id).where(*over).limit(limit))).scalars())


async def last_seq_before(archive: Archive, zone: Zone, at_ms: int) -> int:
    """Return the seq of the zone's last archived event before ``at_ms`` (Unix time); 0 if there is none."""
    columns = events.c
    query = (
        select(columns.seq)
        .where(columns.zone == zone, columns.at < at_ms)
        .order_by(columns.at.desc(), columns.seq.desc())
        .limit(1)
    )
    async with archive.begin_read() as conn:
        return (await conn.execute(query)).scalar() or 0


async def store_positions(archive: Archive, zone: Zone, last_positions: Sequence[ArchivedPosition]) -> None:
    """Store the latest positions of technicians. Each replaces the technician's earlier position."""
    rows = [{"technician": p.technician, "zone": zone, "lat": p.lat, "lon": p.lon, "at": p.at} for p in last_positions]
    async with archive.begin_write() as conn:
        await upsert_rows(conn, partial(insert_into, archive), positions, rows)


async def _move_checkpoint(
    conn: AsyncConnection,
    upsert: Upsert,
    zone: Zone,
    before: Checkpoint | None,
    after: Checkpoint,
    known_format: int,
) -> None:
    """Move the checkpoint from ``before`` (None: not set yet) to ``after``. Raises Superseded, also if the zone has a
    format that this release does not know.
    """
    columns = checkpoints.c
    if before is None:
        first = upsert(checkpoints).values(zone=zone, epoch=after.epoch, seq=after.seq, format=known_format)
        moved = await conn.execute(first.on_conflict_do_nothing())
    else:
        here = (columns.zone == zone) & (columns.epoch == before.epoch) & (columns.seq == before.seq)
        known = here & (columns.format <= known_format)
        moved = await conn.execute(update(checkpoints).where(known).values(epoch=after.epoch, seq=after.seq))
    if moved.rowcount != 1:
        raise Superseded(f"{zone}: the checkpoint is not {before}")


async def _check_epochs(
    conn: AsyncConnection, zone: Zone, in_redis: Mapping[Epoch, int], archived: int, reached: int
) -> None:
    """Check that Redis has each epoch of the database with the same first seq, and record new epochs. Raises
    LogMismatch.

    An epoch that Redis lacks was opened on another server. A new epoch may not begin at an archived seq, because the
    archived events would then be from another log.
    """
    known = {row.epoch: row.first_seq for row in await conn.execute(select(epochs).where(epochs.c.zone == zone))}
    for epoch, first in known.items():
        if in_redis.get(Epoch(epoch)) != first:
            raise LogMismatch(f"{zone}: {epoch} began at {first} here, at {in_redis.get(Epoch(epoch))} in Redis")
    unknown = {epoch: first for epoch, first in in_redis.items() if epoch not in known and first <= reached}
    for epoch, first in unknown.items():
        if first <= archived:
            raise LogMismatch(f"{zone}: {epoch} began at {first}, but {archived} are archived of another history")
    await insert_rows(conn, epochs, [{"zone": zone, "epoch": e, "first_seq": first} for e, first in unknown.items()])


async def _upsert_bids_or_payments(
    conn: AsyncConnection, upsert: Upsert, table: Table, rows: Mapping[Any, Row]
) -> None:
    """Upsert bids or payments with their latest content; ``created_at`` keeps its first value."""
    await upsert_rows(conn, upsert, table, list(rows.values()), unchanged_columns=("created_at",))
