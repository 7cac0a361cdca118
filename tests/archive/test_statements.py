"""Tests of SQL statements that no other test runs on both databases (tests/support/sql_reach.py finds them)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, insert, select

from engine.archive import demand_models, early_refunds, ledger_refill, reader, room_reader
from engine.audit.verifier import verify_zone
from engine.blueprint import registry
from engine.clock import now_ms
from engine.domain import bid_list, day_plan_world, erasures, files, ledger_position, profile, review_queue
from engine.errors import Forbidden, Invalid, ReusedKey
from engine.files import file_rows
from engine.files.file_object import FileObject
from engine.files.row_bounds import MAX_DOCUMENTS
from engine.identity import accounts, suspended_accounts
from engine.payments.adapter import Report
from engine.process.settings import Settings
from engine.rebuild import room_rows
from engine.runtime import Engine
from engine.sql.audit_tables import audit_heads
from engine.sql.database import Archive
from engine.sql.insert import SQLITE_ROWS, insert_into, insert_rows, upsert_rows
from engine.sql.ledger_tables import ledger_progress
from engine.sql.room_tables import room_progress
from engine.sql.technician_tables import technician_states
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, TechnicianId, Zone
from engine.workers import archiver, maintenance, travel_learner
from engine.zone import control
from engine.zone.records import read_records
from tests.archive.room_events import CUSTOMER, HOLDER, ROOM, create_message_event, create_room, create_room_event
from tests.archive.test_dealings import BID
from tests.archive.test_projection import JOB_ID, create_event, create_job_document
from tests.archive.test_reader import archive_events
from tests.engine import staff, test_demand_chore
from tests.engine.test_accounts import create_account, new_account
from tests.support import people
from tests.support.audit_log import archive_count, sign_head
from tests.support.people import ADMIN
from tests.support.photos import tiny_png


async def test_a_repeated_registration_needs_the_password(settings: Settings) -> None:
    """A repeat of a registration with another password is refused as `reused_key`."""
    async with open_engine(settings) as engine:
        key = str(uuid.uuid4())
        await accounts.register_user(engine, new_account(), key=key)
        with pytest.raises(ReusedKey):
            await accounts.register_user(engine, new_account(password="another one"), key=key)


async def test_bids_are_read_from_sql(archive: Archive, settings: Settings) -> None:
    """Of a job that only SQL has, ops read all bids, and a technician only their own."""
    await archive_events(archive, [create_event(1, "bid.created", {"bid": BID})])
    async with open_engine(settings) as engine:
        counts = [
            len(await bid_list._archived_bids(engine, JobId(JOB_ID), technician)) for technician in ("", "t1", "t2")
        ]
        assert counts == [1, 1, 0]


async def test_an_operators_pause_is_recorded(archive: Archive) -> None:
    """A zone is paused until an operator opens it again."""
    for paused in (True, False):
        await control.set_paused(archive, DEFAULT_ZONE, paused=paused)
        assert (await read_records(archive, [DEFAULT_ZONE]))[DEFAULT_ZONE].paused is paused


async def test_a_rebuild_reads_rooms(archive: Archive, settings: Settings) -> None:
    """A rebuild reads an open room with its members, their marks, and its messages."""
    events = [
        create_event(1, "job.created", {"job": create_job_document(1, "done", "done", "t1")}),
        create_room_event(2, "room.opened", create_room(0, CUSTOMER, HOLDER)),
        create_message_event(3, 1),
        create_room_event(4, "room.read", create_room(1, CUSTOMER, HOLDER), HOLDER, n=1),
    ]
    await archive_events(archive, events)
    async with open_engine(settings) as engine:
        assert await room_rows.room_ids(engine, DEFAULT_ZONE, 0) == [ROOM]
        [room] = await room_rows.read_rooms(engine, DEFAULT_ZONE, [ROOM])
        assert {member.id: member.read_n for member in room.members} == {"c1": 1, "t1": 1}
        found = [(of.id, [each.n for each in part]) async for of, part in room_rows.read_messages(engine, [room])]
        assert found == [(ROOM, [1])]


async def test_a_rebuild_reads_a_long_room(archive: Archive, settings: Settings) -> None:
    """A room with more messages than are read together with those of other rooms is read by itself, whole."""
    count = room_rows.SHORT_ROOM_MESSAGES + 2
    events = [
        create_event(1, "job.created", {"job": create_job_document(1, "done", "done", "t1")}),
        create_room_event(2, "room.opened", create_room(0, CUSTOMER, HOLDER)),
        *(create_message_event(2 + n, n) for n in range(1, count + 1)),
    ]
    await archive_events(archive, events)
    async with open_engine(settings) as engine:
        rooms = await room_rows.read_rooms(engine, DEFAULT_ZONE, [ROOM])
        found = [each.n async for _, part in room_rows.read_messages(engine, rooms) for each in part]
        assert found == list(range(1, count + 1))


async def test_a_suspended_technician_may_sign_in_unless_they_are_to_be_erased(settings: Settings) -> None:
    """A customer whose account is not active may not sign in; a technician may, until their erasure is asked for."""
    async with open_engine(settings) as engine:
        assert not await suspended_accounts.may_sign_in(engine, {"id": "usr_1", "role": "customer"})
        assert await suspended_accounts.may_sign_in(engine, {"id": "usr_1", "role": "technician"})
        who = await create_account(engine, "tom@example.org", "technician")
        await erasures.request_erasure(engine, ADMIN, who.id, reason="moved", password=None)
        assert not await suspended_accounts.may_sign_in(engine, {"id": who.id, "role": "technician"})


async def test_an_early_refund_waits_until_it_is_removed(archive: Archive) -> None:
    """A refund that is reported twice waits once. It is not due before its next attempt: the longer it has waited, the
    later.
    """
    report = Report(reference="re_1", status="refunded", amount=5, currency="USD", job=JOB_ID, of="ch_1")
    for now in (1_000, 9_000):
        await early_refunds.store(archive, DEFAULT_ZONE, report, now)
    [refund] = await early_refunds.read_refunds_of_charge(archive, JOB_ID, "ch_1")
    assert refund == (report, 1_000)
    first_ms = 1_000 + early_refunds.FIRST_RETRY_MS
    assert await early_refunds.read_due_refunds(archive, DEFAULT_ZONE, first_ms - 1) == []
    assert await early_refunds.read_due_refunds(archive, DEFAULT_ZONE, first_ms) == [refund]
    await early_refunds.postpone(archive, refund, 21_000)
    assert await early_refunds.read_due_refunds(archive, DEFAULT_ZONE, 30_999) == []
    assert await early_refunds.read_due_refunds(archive, DEFAULT_ZONE, 31_000) == [refund]
    await early_refunds.remove(archive, refund)
    assert await early_refunds.read_refunds_of_charge(archive, JOB_ID, "ch_1") == []


async def test_a_published_head_must_be_stored(archive: Archive) -> None:
    """If a published signed head is not in the database, the verification reports the events after the last stored seq
    as "cut".
    """
    await archive_count(archive, 3)
    published = await sign_head(archive)
    assert (await verify_zone(archive, DEFAULT_ZONE, published=published)).findings == []
    async with archive.begin_write() as conn:
        await conn.execute(delete(audit_heads))
    report = await verify_zone(archive, DEFAULT_ZONE, published=published)
    assert [(finding.seq, finding.kind) for finding in report.findings] == [(4, "cut")]


async def test_counters_of_a_technician_are_read_from_sql(archive: Archive, settings: Settings) -> None:
    """A technician who enters a zone has the counters that SQL has stored for them in this zone, or none if they were
    never there.
    """
    north = Zone("north")
    async with open_engine(msgspec.structs.replace(settings, zones=(north, DEFAULT_ZONE))) as engine:
        new, known = await staff.register_technician(engine), await staff.register_technician(engine)
        counters = {"accepted": 3, "asked": 5, "free_at": 7}
        async with archive.begin_write() as conn:
            row = {"technician": known.id, "zone": north, "online": False, "works": "", **counters}
            await conn.execute(insert(technician_states).values(row))
        for who, expected in ((new, [None] * 3), (known, [b"3", b"5", b"7"])):
            technician = TechnicianId(who.id)
            await profile.patch_technician(engine, ADMIN, technician, profile.ProfilePatch(zone=north))
            assert await engine.store.command("HMGET", keys.technician(north, technician), *counters) == expected


async def test_the_chores_of_a_server_do_their_work(settings: Settings) -> None:
    """The background chores of a server work on both databases: no repair fails, the blueprints are compared, and the
    learnt state of demand and travel times is stored and read again.
    """
    async with open_engine(settings) as engine:
        service, customer = await people.service(engine), await people.customer(engine)
        await people.job(engine, customer, service)
        await archiver.run_once(engine)
        assert -1 not in (await maintenance.run_once(engine)).values()
        await registry.sync_with_sql(engine.archive, engine.blueprints)
        assert await travel_learner.learn_zone(engine, DEFAULT_ZONE, now_ms()) == 0
        await travel_learner.reload(engine)
        await test_demand_chore.fill_counts(engine, 1, await test_demand_chore.this_hour(engine) - 1)
        learnt = await test_demand_chore.learn(engine)
        assert await demand_models.load(engine.archive, DEFAULT_ZONE, "cell", "UTC")
        assert await test_demand_chore.learn(engine) == learnt
        assert await demand_models.load_zone(engine.archive, DEFAULT_ZONE, "cell", "UTC") == learnt[0]


async def test_a_plan_of_all_technicians_reads_who_is_approved(settings: Settings) -> None:
    """A day plan that names no technicians contains all approved technicians of the zone."""
    async with open_engine(settings) as engine:
        new = await staff.register_technician(engine)
        approved = await staff.create_eligible_technician(engine, await people.service(engine))
        assert new.id not in (found := await day_plan_world._ids_of_zone(engine, DEFAULT_ZONE))
        assert found == {approved.id}


async def test_reviewers_find_who_waits_with_their_documents(settings: Settings) -> None:
    """The queue of reviews contains a new technician with their documents; a technician may have 20 files."""
    async with open_engine(settings) as engine:
        new = await staff.register_technician(engine)
        await staff.create_eligible_technician(engine, await people.service(engine))
        uploaded = [await _upload(engine, new, number) for number in range(MAX_DOCUMENTS)]
        with pytest.raises(Invalid):
            await _upload(engine, new, MAX_DOCUMENTS)
        [found] = (await review_queue.find_pending(engine, ADMIN, limit=50, cursor=None)).items
        assert (found.id, [document.id for document in found.documents]) == (new.id, uploaded)


async def test_a_row_that_an_erasure_deleted_is_missed(settings: Settings) -> None:
    """An upload whose row has gone is refused, and releases its blob. No message has a file that nobody named."""
    async with open_engine(settings) as engine:
        new = await staff.register_technician(engine)
        await _upload(engine, new, 1)
        [row] = await file_rows.find_rows(engine.archive)
        await file_rows.confirm_row(engine.archive, row)
        with pytest.raises(Forbidden):
            await file_rows.confirm_row(engine.archive, row._replace(id="file_gone"))
        assert [name for name, _ in await file_rows.released_blobs(engine.archive)] == [row.sha256]
        assert await room_reader.numbers_of_file(engine.archive, "room_main_1", row.id) == []


async def _upload(engine: Engine, who: Principal, number: int) -> str:
    """Upload a document of a technician and return its id."""

    async def parts() -> AsyncIterator[bytes]:
        yield tiny_png(number)

    outcome = await files.upload(engine, who, f"technician:{who.id}", None, parts())
    return msgspec.convert(msgspec.to_builtins(outcome.file), FileObject).id


async def test_the_ledger_of_an_older_release_is_written(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that an older release archived are folded into the ledger, page by page, by the next archiver."""
    monkeypatch.setattr(ledger_refill, "PAGE_SIZE", 2)
    await archive_count(archive, 5)
    async with archive.begin_write() as conn:
        await conn.execute(delete(ledger_progress))
    await ledger_refill.refill(archive, DEFAULT_ZONE, await reader.checkpoint(archive, DEFAULT_ZONE))
    async with archive.begin_read() as conn:
        assert (await conn.execute(select(ledger_progress.c.seq))).scalars().all() == [5]


async def test_a_month_ends_when_the_last_zone_says_so(settings: Settings) -> None:
    """A statement is not final while the clock of one zone is still in the statement's month, because that zone may add
    an event.
    """
    north = Zone("north")
    async with open_engine(msgspec.structs.replace(settings, zones=(north, DEFAULT_ZONE))) as engine:
        until_ms = await ledger_position.read_clock(engine)
        for now, is_over in ((until_ms - 1, False), (until_ms, True)):
            await engine.store.redis.hset(keys.zone_meta(north), "now", now)
            await archiver.run_once(engine)
            assert await ledger_position.has_passed(engine, until_ms) is is_over


async def test_many_rows_are_inserted_and_replaced(archive: Archive) -> None:
    """More rows than one statement of SQLite takes are all inserted; on a conflict, rows stay or are replaced."""
    count, upsert = 2 * SQLITE_ROWS + 3, partial(insert_into, archive)

    def rows(seq: int) -> list[dict[str, Any]]:
        return [{"zone": f"z{number:03}", "seq": seq + number} for number in range(count)]

    async def stored() -> list[dict[str, Any]]:
        async with archive.begin_read() as conn:
            return [dict(row) for row in (await conn.execute(select(room_progress).order_by("zone"))).mappings()]

    async with archive.begin_write() as conn:
        await insert_rows(conn, room_progress, rows(0)[:-1])
        await insert_rows(conn, room_progress, rows(500), upsert)
    assert await stored() == [*rows(0)[:-1], rows(500)[-1]]
    async with archive.begin_write() as conn:
        await upsert_rows(conn, upsert, room_progress, rows(900))
    assert await stored() == rows(900)
