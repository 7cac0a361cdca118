"""One batch into SQL, together with the checkpoint that says so.

The checkpoint moves by compare-and-set, first of all: of two archivers one waits on its row and then finds it
moved, so nothing is ever applied twice and nothing is passed over, however many run and whenever they die.
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
"""What says that the database, or its driver, does not take a value: repeated, it is refused again."""


class Superseded(Exception):
    """The archive stands elsewhere than this archiver believed: another one moved it. Nothing was applied."""


class AnotherLife(Exception):
    """The log in Redis and the archive disagree about the epochs: they are not of one life."""


async def apply(
    archive: Archive,
    zone: Zone,
    batch: Batch,
    *,
    before: Checkpoint | None,
    after: Checkpoint,
    lives: Mapping[Epoch, int],
) -> None:
    """Take ``batch`` in, which begins right after ``before`` and ends at ``after``; all or nothing.

    ``lives`` are the epochs with their first seqs as Redis has them. Raises Superseded, AnotherLife, what
    ``Archive.writing`` raises, and one of ``REFUSALS`` where the database does not take a row.
    """
    async with archive.writing() as conn:
        upsert = _upsert(archive)
        await _move_checkpoint(conn, upsert, zone, before, after)
        await _keep_epochs(conn, zone, lives, before.seq if before else 0, after.seq)
        await _add(conn, events, batch.events)
        await _add(conn, event_channels, batch.channels)
        await _put(conn, upsert, jobs, list(batch.jobs.values()))
        await _add(conn, job_references, batch.references, upsert)
        await _put(conn, upsert, offers, list(batch.offers.values()))
        await _answer(conn, list(batch.answers.values()))
        await _deal(conn, upsert, bids, batch.bids)
        await _deal(conn, upsert, payments, batch.payments)
        await _add(conn, notifications, batch.notifications, upsert)
        await _add(conn, events_refused, batch.refused)


async def mark_archived(archive: Archive, told: Sequence[str]) -> None:
    """Note that Redis knows of these finished jobs being archived."""
    over = jobs.c.id.in_(told) & jobs.c.phase.in_(FINISHED)
    async with archive.writing() as conn:
        await conn.execute(update(jobs).where(over).values(hot=False))


async def unarchived(archive: Archive, zone: Zone, limit: int) -> list[str]:
    """Finished jobs of which Redis was perhaps not told: an archiver died between commit and word."""
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
    """Where technicians are now, over what was known before."""
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


async def _keep_epochs(
    conn: AsyncConnection, zone: Zone, lives: Mapping[Epoch, int], archived: int, reached: int
) -> None:
    """Each epoch that opened over this database must be in Redis, as we know it: one that is not there opened on
    another server. And none may begin within what is archived already: those seqs are of another life here.
    """
    known = {row.epoch: row.first_seq for row in await conn.execute(select(epochs).where(epochs.c.zone == zone))}
    for epoch, first in known.items():
        if lives.get(Epoch(epoch)) != first:
            raise AnotherLife(f"{zone}: {epoch} began at {first} here, at {lives.get(Epoch(epoch))} in Redis")
    unknown = {epoch: first for epoch, first in lives.items() if epoch not in known and first <= reached}
    for epoch, first in unknown.items():
        if first <= archived:
            raise AnotherLife(f"{zone}: {epoch} began at {first}, but {archived} are archived of another life")
    await _add(conn, epochs, [{"zone": zone, "epoch": e, "first_seq": first} for e, first in unknown.items()])


async def _add(
    conn: AsyncConnection, table: Table, rows: list[Row], upsert: Callable[[Table], Any] | None = None
) -> None:
    """Insert; with ``upsert`` rows that are there already stay as they are."""
    if rows:
        await _many(conn, upsert(table).on_conflict_do_nothing() if upsert else insert(table), rows)


async def _deal(conn: AsyncConnection, upsert: Callable[[Table], Any], table: Table, rows: Mapping[Any, Row]) -> None:
    """What was agreed, as it was told last; when it was told first stays."""
    await _put(conn, upsert, table, list(rows.values()), but=("created_at",))


async def _put(
    conn: AsyncConnection,
    upsert: Callable[[Table], Any],
    table: Table,
    rows: list[Row],
    *,
    but: Collection[str] = (),
) -> None:
    """Insert, or take the place of the row with the same key, of which the columns ``but`` stay as they are."""
    if not rows:
        return
    new = upsert(table)
    others = [column.name for column in table.columns if not column.primary_key and column.name not in but]
    rest = {name: new.excluded[name] for name in others}
    keys = [column.name for column in table.primary_key.columns]
    await _many(conn, new.on_conflict_do_update(index_elements=keys, set_=rest), rows)


async def _many(conn: AsyncConnection, statement: Any, rows: list[Row]) -> None:
    """Run an insert for many rows that all name the same columns.

    The statement is compiled once and the rows go to the driver as they are: what SQLAlchemy does for each row
    costs more than the driver's work, and holds up everything else in this process. Texts, integers and booleans
    need no conversion on either database.
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
