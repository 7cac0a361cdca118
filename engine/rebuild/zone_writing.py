"""Write what SQL has of a zone, or of the part of it whose events Redis has lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from engine.clock import now_ms
from engine.rebuild import (
    block_contents,
    idempotency_records,
    job_rows,
    lost_tail,
    quote_contents,
    room_contents,
    room_rows,
    technician_entries,
)
from engine.rebuild.contents import Contents, KeyContent
from engine.rebuild.job_contents import job_contents
from engine.rebuild.lost_tail import LostTail
from engine.rebuild.technician_entries import Workload
from engine.rebuild.writer import ZoneWriter
from engine.sql.room_tables import rooms
from engine.sql.schema import jobs, technicians
from engine.store import keys
from engine.types import Epoch, JobId, TechnicianId, UserId, Zone, room_of
from engine.zone.records import ZoneRecord

if TYPE_CHECKING:
    from engine.runtime import Engine

JOBS_PER_PAGE = 500
IDS_PER_QUERY = 50_000
"""How many ids of jobs are read at once: to find the next ones, the database sorts all that follow."""


async def count_rows(engine: Engine, zone: Zone) -> int:
    """Return the number of rows that ``write_everything`` writes: live jobs, open rooms and technicians."""
    queries = (
        select(func.count()).select_from(jobs).where(jobs.c.zone == zone, jobs.c.hot.is_(True)),
        select(func.count()).select_from(rooms).where(rooms.c.zone == zone, rooms.c.state == "open"),
        select(func.count()).select_from(technicians).where(technicians.c.zone == zone),
    )
    async with engine.archive.begin_read() as conn:
        return sum([(await conn.execute(query)).scalar_one() for query in queries])


class ZoneWriting:
    """What one rebuild writes of a zone. ``ended_at`` is the time (ms) of the last archived event.

    Both functions raise LostRight, Unavailable and Indeterminate.
    """

    def __init__(self, engine: Engine, zone: Zone, writer: ZoneWriter, ended_at: int) -> None:
        self._engine = engine
        self._zone = zone
        self._writer = writer
        self._ended_at = ended_at
        self._now = max(now_ms(), ended_at)
        self._window_ms = round(engine.settings.log_window_s * 1000)
        self._workload = Workload()

    async def write_everything(self, record: ZoneRecord) -> None:
        """Write all that SQL has, into a zone without keys. The log begins again above the archive's head."""
        archive, zone, writer = self._engine.archive, self._zone, self._writer
        await writer.write(_log_contents(zone, record.archived, record.epochs), rows=0)
        async for blocked in block_contents.read_contents(archive, zone):
            await writer.write(blocked, rows=0)
        after = ""
        while ids := await job_rows.live_job_ids(archive, zone, after, IDS_PER_QUERY):
            for start in range(0, len(ids), JOBS_PER_PAGE):
                await self._write_jobs(ids[start : start + JOBS_PER_PAGE])
            after = ids[-1]
        await self._write_rooms(await room_rows.room_ids(self._engine, zone, self._now - self._window_ms))
        async for contents in idempotency_records.read_reserved_keys(archive, zone, self._now):
            await writer.write(contents, rows=0)
        async for contents in idempotency_records.read_contents(archive, zone, self._now):
            await writer.write(contents, rows=0)
        async for contents in quote_contents.read_contents(archive, zone, self._now):
            await writer.write(contents, rows=0)
        await writer.flush()
        async for entries in technician_entries.read_entries(archive, zone, self._workload, self._ended_at):
            await writer.write_technicians(entries)

    async def write_tail(self, record: ZoneRecord, tail: LostTail) -> None:
        """Rebuild the objects that the lost events concern, and append these events to the log."""
        rooms_of_jobs = {str(room_of(JobId(job))) for job in tail.jobs}
        subjects = sorted(tail.jobs), sorted(tail.rooms | rooms_of_jobs)
        holders = {holder async for holder in self._read_holders(subjects[0])}
        tasks = await lost_tail.find_tasks(self._engine, self._zone, (*subjects[0], *subjects[1]))
        await self._writer.forget(*subjects, tasks)
        await self._writer.write(lost_tail.log_contents(self._zone, tail, record.epochs), rows=0)
        for start in range(0, len(subjects[0]), JOBS_PER_PAGE):
            await self._write_jobs(await self._select_live(subjects[0][start : start + JOBS_PER_PAGE]))
        await self._write_rooms(await room_rows.live_among(self._engine, subjects[1], self._now - self._window_ms))
        await self._writer.write(await idempotency_records.contents_of(self._engine.archive, tail.rows), rows=0)
        await self._write_lost_quotes(tail)
        await self._writer.flush()
        involved = {each for each in tail.technicians | holders | set(self._workload.held) if each}
        await self._read_workload(involved)
        async for entries in technician_entries.read_entries(
            self._engine.archive, self._zone, self._workload, self._ended_at, involved
        ):
            await self._writer.write_technicians([technician_entries.without_position(entry) for entry in entries])

    async def _write_lost_quotes(self, tail: LostTail) -> None:
        """Write the quotes that were made or used up in the lost part of the log."""
        before, archive = tail.rows[0][0].seq - 1, self._engine.archive
        found = quote_contents.read_contents(archive, self._zone, self._now, after_seq=before, jobs=tail.jobs)
        async for contents in found:
            await self._writer.write(contents, rows=0)

    async def _write_jobs(self, ids: Sequence[JobId]) -> None:
        for rows in await job_rows.read_job_rows(self._engine.archive, self._zone, ids, self._search_mode):
            parts = job_contents(rows, self._now)
            await self._writer.write(parts.contents, rows=1)
            if parts.holder:
                self._workload.held[parts.holder] += 1
                self._workload.ahead[parts.holder] += parts.is_ahead

    def _search_mode(self, blueprint_key: str, status: str) -> str:
        """Return how jobs of a blueprint search for a technician in the state ``status``."""
        state = self._engine.blueprints.find_or_default(blueprint_key).states.get(status)
        return state.search_mode if state else "none"

    async def _write_rooms(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), room_rows.PAGE_SIZE):
            page = await room_rows.read_rooms(self._engine, self._zone, ids[start : start + room_rows.PAGE_SIZE])
            for room in page:
                contents = room_contents.room_contents(room, now_ms=self._now, window_ms=self._window_ms)
                await self._writer.write(contents, rows=1)
            async for room, said in room_rows.read_messages(self._engine, page):
                await self._writer.write(room_contents.message_contents(room, said), rows=0)

    async def _select_live(self, ids: Sequence[str]) -> list[JobId]:
        """Return those of the jobs ``ids`` that Redis is to have."""
        query = select(jobs.c.id).where(jobs.c.id.in_(ids), jobs.c.hot.is_(True)).order_by(jobs.c.id)
        async with self._engine.archive.begin_read() as conn:
            return [JobId(job) for job in (await conn.execute(query)).scalars()]

    async def _read_holders(self, ids: Collection[str]) -> AsyncIterator[str]:
        """Yield the holder that each of these jobs has in Redis."""
        store = self._engine.store
        for job in ids:
            yield ((await store.command("HGET", keys.job(self._zone, JobId(job)), "holder")) or b"").decode()

    async def _read_workload(self, ids: Collection[str]) -> None:
        """Count the jobs that these technicians have in Redis by now."""
        store = self._engine.store
        for technician in ids:
            held = await store.command("SMEMBERS", keys.technician_jobs(self._zone, TechnicianId(UserId(technician))))
            ahead = [
                await store.command("HGET", keys.job(self._zone, JobId(job.decode())), "ahead") == b"1" for job in held
            ]
            self._workload.held[technician], self._workload.ahead[technician] = len(held), sum(ahead)


def _log_contents(zone: Zone, archived: int, epochs: Mapping[Epoch, int]) -> Contents:
    """Return the keys that say how far the zone's log and its readers are: the log is empty, and nothing is to be
    notified of."""
    contents: Contents = {keys.push_cursor(zone): KeyContent("string", str(archived))}
    if epochs:
        first_seqs = {str(epoch): str(first) for epoch, first in epochs.items()}
        contents[keys.epochs(zone)] = KeyContent("hash", first_seqs)
    return contents
