"""Apply one batch to SQL, together with the new checkpoint.

The checkpoint moves first, by compare-and-set. Of two archivers one waits on its row and then finds it moved. So no
event is applied twice and none is skipped, however many archivers run and whenever they die.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.projection import FINISHED, Batch, Row
from engine.archive.reader import Checkpoint, Position
from engine.sql.database import Archive
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

REFUSALS = (DataError, IntegrityError, OverflowError, UnicodeError)
"""The errors if the database or its driver refuses a value. A retry would be refused too."""


class Superseded(Exception):
    """The checkpoint is not where this archiver expected it: another archiver moved it. Nothing was applied."""


class AnotherLife(Exception):
    """The log in Redis and the archive disagree about the epochs: they are different logs."""


async def apply(
    archive: Archive,
    zone: Zone,
    batch: Batch,
    *,
    before: Checkpoint | None,
    after: Checkpoint,
    in_redis: Mapping[Epoch, int],
) -> None:
    """Apply ``batch``, which begins right after ``before`` and ends at ``after``, in one transaction.

    ``in_redis`` are the epochs in Redis with their first seqs. Raises Superseded, AnotherLife, what
    ``Archive.writing`` raises, and one of ``REFUSALS`` if the database refuses a row.
    """
    async with archive.writing() as conn:
        upsert = _upsert(archive)
        await _move_checkpoint(conn, upsert, zone, before, after)
        await _check_epochs(conn, zone, in_redis, before.seq if before else 0, after.seq)
        await _add(conn, events, batch.events)
        await _add(conn, event_channels, batch.channels)
        await _put(conn, upsert, jobs, list(batch.jobs.values()))
        await _add(conn, job_references, batch.references, upsert)
        await _put(conn, upsert, offers, list(batch.offers.values()))
        await _answer(conn, list(batch.answers.values()))
        await _put_dealings(conn, upsert, bids, batch.bids)
        await _put_dealings(conn, upsert, payments, batch.payments)
        await _add(conn, notifications, batch.notifications, upsert)
        await _add(conn, events_refused, batch.refused)


async def mark_archived(archive: Archive, finished: Sequence[str]) -> None:
    """Record that Redis was notified that these finished jobs are archived."""
    over = jobs.c.id.in_(finished) & jobs.c.phase.in_(FINISHED)
    async with archive.writing() as conn:
        await conn.execute(update(jobs).where(over).values(hot=False))


async def unarchived(archive: Archive, zone: Zone, limit: int) -> list[str]:
    """Finished jobs whose archiving Redis may not know of: an archiver died between commit and notification."""
    over = (jobs.c.zone == zone, jobs.c.hot.is_(True), jobs.c.phase.in_(FINISHED))
    async with archive.reading() as conn:
        return list((await conn.execute(select(jobs.c.id).where(*over).limit(limit))).scalars())


async def seq_before(archive: Archive, zone: Zone, at: int) -> int:
    """The last seq of an event older than ``at`` (ms since the Unix epoch), or 0."""
    c = events.c
    query = select(c.seq).where(c.zone == zone, c.at < at).order_by(c.at.desc(), c.seq.desc()).limit(1)
    async with archive.reading() as conn:
        return (await conn.execute(query)).scalar() or 0


async def keep_positions(archive: Archive, zone: Zone, last: Sequence[Position]) -> None:
    """Store the latest positions of technicians over the earlier ones."""
    rows = [{"technician": p.technician, "zone": zone, "lat": p.lat, "lon": p.lon, "at": p.at} for p in last]
    async with archive.writing() as conn:
        await _put(conn, _upsert(archive), positions, rows)


def _upsert(archive: Archive) -> Callable[[Table], Any]:
    return sqlite.insert if archive.is_sqlite else postgresql.insert


async def _move_checkpoint(
    conn: AsyncConnection,
    upsert: Callable[[Table], Any],
    zone: Zone,
    before: Checkpoint | None,
    after: Checkpoint,
) -> None:
    c = checkpoints.c
    if before is None:
        first = upsert(checkpoints).values(zone=zone, epoch=after.epoch, seq=after.seq)
        moved = await conn.execute(first.on_conflict_do_nothing())
    else:
        here = (c.zone == zone) & (c.epoch == before.epoch) & (c.seq == before.seq)
        moved = await conn.execute(update(checkpoints).where(here).values(epoch=after.epoch, seq=after.seq))
    if moved.rowcount != 1:
        raise Superseded(f"{zone}: the checkpoint is not {before}")


async def _check_epochs(
    conn: AsyncConnection, zone: Zone, in_redis: Mapping[Epoch, int], archived: int, reached: int
) -> None:
    """Check that Redis has each epoch of the database with the same first seq, and record new ones.

    An epoch that Redis lacks was opened on another server. No new epoch may begin at an archived seq: the archived
    events would be from another log.
    """
    known = {row.epoch: row.first_seq for row in await conn.execute(select(epochs).where(epochs.c.zone == zone))}
    for epoch, first in known.items():
        if in_redis.get(Epoch(epoch)) != first:
            raise AnotherLife(f"{zone}: {epoch} began at {first} here, at {in_redis.get(Epoch(epoch))} in Redis")
    unknown = {epoch: first for epoch, first in in_redis.items() if epoch not in known and first <= reached}
    for epoch, first in unknown.items():
        if first <= archived:
            raise AnotherLife(f"{zone}: {epoch} began at {first}, but {archived} are archived of another life")
    await _add(conn, epochs, [{"zone": zone, "epoch": e, "first_seq": first} for e, first in unknown.items()])


async def _add(
    conn: AsyncConnection, table: Table, rows: list[Row], upsert: Callable[[Table], Any] | None = None
) -> None:
    """Insert rows. With ``upsert``, existing rows stay unchanged."""
    if rows:
        await _many(conn, upsert(table).on_conflict_do_nothing() if upsert else insert(table), rows)


async def _put_dealings(
    conn: AsyncConnection, upsert: Callable[[Table], Any], table: Table, rows: Mapping[Any, Row]
) -> None:
    """Upsert bids or payments with their latest content; ``created_at`` keeps its first value."""
    await _put(conn, upsert, table, list(rows.values()), but=("created_at",))


async def _put(
    conn: AsyncConnection,
    upsert: Callable[[Table], Any],
    table: Table,
    rows: list[Row],
    *,
    but: Collection[str] = (),
) -> None:
    """Insert rows, or replace the row with the same key except for its columns ``but``."""
    if not rows:
        return
    new = upsert(table)
    others = [column.name for column in table.columns if not column.primary_key and column.name not in but]
    rest = {name: new.excluded[name] for name in others}
    keys = [column.name for column in table.primary_key.columns]
    await _many(conn, new.on_conflict_do_update(index_elements=keys, set_=rest), rows)


async def _many(conn: AsyncConnection, statement: Any, rows: list[Row]) -> None:
    """Run an insert for many rows that all have the same columns.

    The statement is compiled once and the rows go to the driver unchanged: SQLAlchemy's work for each row costs more
    than the driver's, and blocks all other tasks of this process. Texts, integers and booleans need no conversion on
    either database.
    """
    compiled = statement.compile(dialect=conn.dialect, column_keys=list(rows[0]))
    values = itemgetter(*compiled.positiontup)
    await conn.exec_driver_sql(str(compiled), [values(row) for row in rows])


async def _answer(conn: AsyncConnection, rows: list[Row]) -> None:
    if not rows:
        return
    mine = (offers.c.job == bindparam("of_job")) & (offers.c.technician == bindparam("of_technician"))
    change: dict[str, Any] = {name: bindparam(name) for name in ("status", "reason", "answered_at")}
    await conn.execute(update(offers).where(mine).values(**change), rows)
