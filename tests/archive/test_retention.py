"""Events, jobs and rooms that are older than their retention are deleted from SQL. Each deletion of events is announced
in the log first, and everything that is still needed stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, func, insert, select, update

from engine.archive import reader, retention
from engine.audit.verifier import verify_zone
from engine.clock import now_ms
from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.sql.demand_tables import demand_hours, demand_progress
from engine.sql.quote_tables import quotes
from engine.sql.room_tables import messages, rooms
from engine.sql.schema import event_channels, events, notification_reads, notifications, offers
from engine.sql.schema import jobs as job_rows
from engine.startup import open_engine
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.workers import archiver
from engine.workers import retention as retention_work
from tests.archive.room_events import CUSTOMER, HOLDER, ROOM, create_message_event, create_room, create_room_event
from tests.archive.test_reader import archive_events
from tests.support import people

OPS_CALLER = Principal(UserId("cli_ops_manager"), "ops_manager")
DAY_MS = 86_400_000


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """Yield an engine that keeps events for a day."""
    async with open_engine(msgspec.structs.replace(settings, keep_events_days=1)) as opened:
        yield opened


async def make_older(engine: Engine, days: int) -> None:
    """Make all archived events, but not the announcements of deletions, older by ``days``."""
    async with engine.archive.begin_write() as conn:
        older = update(events).where(events.c.type != retention.RETIRED_TYPE)
        await conn.execute(older.values(at=events.c.at - days * DAY_MS))


async def count_rows(engine: Engine, column: object) -> int:
    """Return how many rows the table of this column has."""
    async with engine.archive.begin_read() as conn:
        return (await conn.execute(select(func.count(column)))).scalar() or 0  # type: ignore[arg-type]


async def create_two_jobs(engine: Engine) -> tuple[str, str]:
    """Archive a job that was cancelled and that Redis need not have, and one that is searching. Return their ids."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "t1", service)
    over = await people.offered_job(engine, carla, service)
    await jobs.run_command(engine, OPS_CALLER, over, CommandInput(command="cancel", reason="flooded"))
    live = await people.offered_job(engine, carla, service)
    await archiver.run_once(engine)
    return over, live


async def types_of(engine: Engine, job: str) -> set[str]:
    """Return the types of the archived events of a job."""
    async with engine.archive.begin_read() as conn:
        return set((await conn.execute(select(events.c.type).where(events.c.job == job))).scalars())


async def test_nothing_goes_before_its_announcement_is_archived(engine: Engine) -> None:
    """A pass announces what is retired and deletes nothing; as long as the announcement is not archived, later passes
    delete nothing either.
    """
    await create_two_jobs(engine)
    await make_older(engine, 3)
    before = await count_rows(engine, events.c.seq)
    for _ in range(3):
        assert await retention_work.run_once(engine) == 0
    assert await count_rows(engine, events.c.seq) == before


async def test_old_events_are_retired_and_the_audit_still_verifies(engine: Engine) -> None:
    """After the announcement is archived, old events are deleted with their channels. Events of live jobs stay, and of
    a finished job the event that can restore it. The deleted part cannot be replayed, and the audit explains every
    missing event.
    """
    over, live = await create_two_jobs(engine)
    kept, checkpoint = await types_of(engine, live), await reader.checkpoint(engine.archive, DEFAULT_ZONE)
    assert checkpoint and await reader.first_seq(engine.archive, DEFAULT_ZONE) == 1
    expected = await verify_zone(engine.archive, DEFAULT_ZONE)
    await make_older(engine, 3)
    assert await retention_work.run_once(engine) == 0
    await archiver.run_once(engine)
    await make_older(engine, -3)  # the leaves have the events' real times
    deleted = 0
    while more := await retention_work.run_once(engine):
        deleted += more
    assert deleted > 0 and expected.findings == []
    assert await types_of(engine, live) == kept
    assert await types_of(engine, over) == {"job.created"}
    first = await reader.first_seq(engine.archive, DEFAULT_ZONE)
    assert first == checkpoint.seq + 1
    report = await verify_zone(engine.archive, DEFAULT_ZONE)
    assert (report.findings, report.entries) == ([], expected.entries + 1)
    async with engine.archive.begin_read() as conn:
        left = set((await conn.execute(select(events.c.seq))).scalars())
        assert set((await conn.execute(select(event_channels.c.seq))).scalars()) <= left
        [announced] = (await conn.execute(select(events.c.data).where(events.c.type == "log.retired"))).scalars()
    assert announced == f'{{"from":1,"to":{checkpoint.seq}}}'


async def test_a_large_part_goes_in_batches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion of many old events that ends in the middle is continued at the next pass."""
    await create_two_jobs(engine)
    await make_older(engine, 3)
    await retention_work.run_once(engine)
    await archiver.run_once(engine)
    monkeypatch.setattr(retention, "ROWS_PER_BATCH", 2)
    monkeypatch.setattr(retention_work, "MAX_PASS_S", 0.0)
    before = retention_work._first_kept_ms(1)
    part = await retention.next_retirement(engine.archive, DEFAULT_ZONE, before)
    assert part and await retention.is_announced(engine.archive, part)
    number, after = await retention.delete_events(engine.archive, part)
    assert number == 2 and 0 < after.deleted_to < part.last_seq
    again = await retention.next_retirement(engine.archive, DEFAULT_ZONE, before)
    assert again and (again.first_seq, again.deleted_to) == (1, after.deleted_to)


async def test_an_announcement_that_the_log_lost_is_made_again(engine: Engine) -> None:
    """If another event has the announcement's seq, nothing is deleted before a new announcement is archived."""
    await create_two_jobs(engine)
    await make_older(engine, 3)
    await retention_work.run_once(engine)
    part = await retention.next_retirement(engine.archive, DEFAULT_ZONE, 0)
    assert part
    await retention.note_announcement(engine.archive, part, 1)
    assert await retention_work.run_once(engine) == 0
    part = await retention.next_retirement(engine.archive, DEFAULT_ZONE, 0)
    assert part and part.announced_seq is None


async def test_finished_jobs_closed_rooms_and_old_notifications_go(settings: Settings) -> None:
    """Each kind has its own number of days (quotes have that of jobs); with 0 it is never deleted. Live jobs and open
    rooms stay.
    """
    kept_one_day = msgspec.structs.replace(settings, keep_jobs_days=1, keep_messages_days=1)
    async with open_engine(kept_one_day) as engine:
        over, live = await create_two_jobs(engine)
        async with engine.archive.begin_write() as conn:
            promised = {"zone": DEFAULT_ZONE, "seq": 1, "customer": "u", "doc": "{}"}
            for number, ends in enumerate((1_000, 2_000_000_000_000)):
                await conn.execute(insert(quotes).values(id=f"q{number}", expires_at=ends, **promised))
            await conn.execute(update(job_rows).values(created_at=1_000))
            await conn.execute(update(job_rows).where(job_rows.c.id == over).values(hot=False))
            row = {"user": "u", "kind": "k", "title": "t", "body": "b"}
            for number, at in enumerate((1_000, 2_000_000_000_000)):
                await conn.execute(insert(notifications).values(row | {"id": f"n{number}", "at": at}))
                await conn.execute(insert(notification_reads).values(user="u", notification=f"n{number}", at=at))
        assert await retention_work.run_once(engine) == 3
        async with engine.archive.begin_read() as conn:
            assert (await conn.execute(select(job_rows.c.id))).scalars().all() == [live]
            assert over not in (await conn.execute(select(offers.c.job))).scalars().all()
            assert (await conn.execute(select(quotes.c.id))).scalars().all() == ["q1"]
            assert (await conn.execute(select(notification_reads.c.notification))).scalars().all() == ["n1"]
            assert (
                await conn.execute(select(notifications.c.id).where(notifications.c.user == "u"))
            ).scalars().all() == ["n1"]


async def test_old_counts_of_requests_go(settings: Settings) -> None:
    """Counts older than their days go, hour by hour, in each zone and for each kind of area. Those of the last 100 days
    stay: the forecast needs them.
    """
    async with open_engine(msgspec.structs.replace(settings, keep_demand_days=1)) as engine:
        first_kept = (now_ms() // DAY_MS - 100) * 24
        counts = {"booked": 1, "quoted": 0, "filled": 0, "expired": 0}
        async with engine.archive.begin_write() as conn:
            await conn.execute(delete(demand_progress))
            await conn.execute(insert(demand_progress), [{"zone": zone, "seq": 1} for zone in ("main", "east")])
            for zone, kind in (("main", "cell"), ("main", "postal_cell"), ("east", "postal_code")):
                for hour in (7, 8, first_kept - 1, first_kept, first_kept + 1):
                    row = {"zone": zone, "kind": kind, "hour": hour, **counts}
                    await conn.execute(insert(demand_hours), [row | {"area": area} for area in ("a", "b")])
        assert await retention_work.run_once(engine) == 3 * 3 * 2
        assert await retention_work.run_once(engine) == 0
        async with engine.archive.begin_read() as conn:
            kept = (await conn.execute(select(demand_hours.c.zone, demand_hours.c.kind, demand_hours.c.hour))).all()
        assert len(kept) == 3 * 2 * 2 and {row.hour for row in kept} == {first_kept, first_kept + 1}


async def test_a_closed_room_goes_with_its_messages(archive: object, settings: Settings) -> None:
    """A room that was closed long ago is deleted with its messages; an open one stays."""
    other = ROOM.replace("zzz", "aaa")
    await archive_events(
        archive,  # type: ignore[arg-type]
        [
            create_room_event(1, "room.opened", create_room(0, CUSTOMER, HOLDER)),
            create_message_event(2, 1),
            create_room_event(3, "room.opened", create_room(0, CUSTOMER, room=other)),
            create_message_event(4, 1, room=other),
            create_room_event(5, "room.closed", create_room(1, CUSTOMER, HOLDER, state="closed")),
        ],
    )
    async with open_engine(msgspec.structs.replace(settings, keep_messages_days=1)) as engine:
        assert await retention_work.run_once(engine) == 1
        async with engine.archive.begin_read() as conn:
            assert (await conn.execute(select(rooms.c.id))).scalars().all() == [other]
            assert (await conn.execute(select(messages.c.room))).scalars().all() == [other]


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_sqlite_gives_unused_pages_back(engine: Engine) -> None:
    """The file of an SQLite database gets smaller after a deletion."""
    async with engine.archive.begin_write() as conn:
        row = {"user": "u", "kind": "k", "title": "t", "body": "b" * 100_000, "at": 1}
        await conn.execute(insert(notifications), [row | {"id": f"n{number}"} for number in range(20)])
    assert await retention_work.run_once(engine) == 20
    with sqlite3.connect(Path(engine.settings.data) / "callout.db") as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone()[0] < 10
        assert connection.execute("PRAGMA page_count").fetchone()[0] * 4096 < 2_000_000
    connection.close()
