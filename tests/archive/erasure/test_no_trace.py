"""A person who is erased is in no table, key, file or log any more, and the audit tree still verifies."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import LargeBinary, Text, select

from engine.audit import heads, signed_note
from engine.audit.server_keys import HeadKey
from engine.audit.verifier import verify_zone
from engine.errors import ProfileIncomplete
from engine.runtime import Engine
from engine.sql.columns import metadata
from engine.sql.erasure_declarations import DECLARATIONS, REASONS
from engine.sql.room_tables import messages as message_rows
from engine.sql.schema import events as event_rows
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, TechnicianId
from engine.workers import notifier
from tests.archive.erasure.life import ADDRESS, NAME, NOTES, OTHER_NAME, TEXTS, begin_life
from tests.archive.test_quarantine import TOO_LARGE_FOR_BIGINT, append_event
from tests.support import people
from tests.support.traces import traces_in_files, traces_in_redis, traces_in_sql

JOB_COUNT = 50
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


def folders(engine: Engine, own_redis: tuple[Path, str]) -> list[Path]:
    """Return the folders in which the servers of a test store something."""
    return [Path(engine.settings.data), own_redis[0]]


async def test_an_erased_person_leaves_no_trace(engine: Engine, own_redis: tuple[Path, str]) -> None:
    """After 50 jobs with chats and ratings and then the erasure, no data of the person is in SQL, Redis or a file.
    Signed heads from before still prove the log, and what the technician wrote remains.
    """
    count = JOB_COUNT if engine.archive.is_sqlite else 3
    life = await begin_life(engine, count)
    await life.archive_all()
    note = await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
    assert note
    assert {text for text in TEXTS if any(text in each for each in await traces_in_sql(engine.archive, TEXTS))} == set(
        TEXTS
    )
    done = await life.erase()
    assert (done.state, done.blockers, done.zones) == ("done", [], [DEFAULT_ZONE])
    assert await traces_in_sql(engine.archive, TEXTS) == []
    assert await traces_in_redis(engine, TEXTS) == []
    if engine.archive.is_sqlite:
        assert [each for folder in folders(engine, own_redis) for each in traces_in_files(folder, TEXTS)] == []
    else:
        assert traces_in_files(own_redis[0], TEXTS) == []
    async with engine.archive.begin_read() as conn:
        query = select(event_rows.c.data).where(event_rows.c.type == "subject.erased")
        erased = [msgspec.json.decode(data) for data in (await conn.execute(query)).scalars()]
    assert {each["user"] for each in erased} == {life.customer.id}
    assert max(len(each["seqs"]) for each in erased) <= 500 and len(erased) >= 1 + count // JOB_COUNT
    report = await verify_zone(engine.archive, DEFAULT_ZONE, head=signed_note.parse_head(note))
    assert report.findings == [] and report.erased > 5 * count
    async with engine.archive.begin_read() as conn:
        docs = [msgspec.json.decode(doc) for doc in (await conn.execute(select(message_rows.c.doc))).scalars()]
    assert len(docs) == 2 * count
    for doc in docs:
        if doc["sender"]["id"] == life.customer.id:
            assert (doc["text"], doc["erased"], doc["sender"]["name"]) == ("", True, "")
        else:
            assert doc["text"].startswith("Yes, [erased], ") and doc["sender"]["name"] == OTHER_NAME


def test_what_is_kept_has_a_reason() -> None:
    """Each column that is kept by law says which law needs it, and no other column does."""
    assert set(REASONS) == {name for name, fate in DECLARATIONS.items() if fate == "by_law"}


def test_every_text_column_declares_its_erasure() -> None:
    """Each column with texts or bytes says what becomes of it when a person is erased, and no other column does."""
    columns = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Text | LargeBinary)
    }
    assert set(DECLARATIONS) == columns


@on_sqlite
async def test_an_erased_technician_leaves_no_trace(engine: Engine) -> None:
    """The name of a technician is in the customer's notifications and jobs too. Redis has no position of them any more,
    and the customer's own data stays.
    """
    life = await begin_life(engine, 2)
    await live.set_availability(engine, life.technician, life.technician.id, online=True, position=people.HERE)
    await notifier.run_once(engine)
    await life.archive_all()
    before = await traces_in_sql(engine.archive, [OTHER_NAME])
    assert {each.rpartition(" ")[2] for each in before} >= {"notifications.body", "room_members.name", "jobs.doc"}
    await life.erase(life.technician)
    assert await traces_in_sql(engine.archive, [OTHER_NAME]) == []
    assert await traces_in_redis(engine, [OTHER_NAME]) == []
    record = keys.technician(DEFAULT_ZONE, TechnicianId(life.technician.id))
    assert await engine.store.command("HMGET", record, "name", "lat", "lon") == [b'""', None, None]
    assert await traces_in_sql(engine.archive, [ADDRESS]) != []
    assert (await verify_zone(engine.archive, DEFAULT_ZONE)).findings == []
    with pytest.raises(ProfileIncomplete):
        await live.set_availability(engine, life.technician, life.technician.id, online=True, position=people.HERE)


@on_sqlite
async def test_events_in_quarantine_are_erased(engine: Engine) -> None:
    """An event that the database refused loses the person's data too, whether it was stored without its rows or not."""
    life = await begin_life(engine, 1)
    job, user = {"id": life.jobs[0], "notes": NOTES}, {"id": life.customer.id, "name": NAME}
    payment = {"id": "p", "status": "captured", "amount": TOO_LARGE_FOR_BIGINT, "currency": "USD"}
    await append_event(engine, "payment.captured", {"job": {**job, "customer": user}, "payment": payment})
    await append_event(engine, "job.noted", {"job": {**job, "customer": user}}, at_ms=TOO_LARGE_FOR_BIGINT)
    await life.archive_all()
    found = await traces_in_sql(engine.archive, [NOTES])
    assert found.count(f"{NOTES!r} in events_refused.entry") == 2
    await life.erase()
    assert await traces_in_sql(engine.archive, TEXTS) == []
    assert (await verify_zone(engine.archive, DEFAULT_ZONE)).findings == []
