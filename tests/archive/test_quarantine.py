"""Tests of events that the database refuses: they are written to `events_refused` and counted, and the events after
them are archived.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import Table, delete, func, insert, select

from engine.archive import reader
from engine.archive.apply import LogMismatch
from engine.errors import Unavailable
from engine.rebuild import rebuilder
from engine.runtime import Engine
from engine.sql.audit_tables import audit, audit_nodes
from engine.sql.job_tables import job_states
from engine.sql.schema import event_channels, events, events_refused, notifications, payments
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.workers import archiver as writer
from engine.zone import log
from tests.support import people

ZONE = DEFAULT_ZONE
TOO_LARGE_FOR_BIGINT = 10**20
"""A number larger than a BIGINT can store."""


async def append_event(
    engine: Engine, kind: str, data: dict[str, Any], *, at_ms: int | None = None, state: str = ""
) -> int:
    """Append one event to the log without a script, and return its seq."""
    client = engine.store.redis
    meta: Any = await client.hmget(keys.zone_meta(ZONE), ["seq", "now"])
    seq = int(meta[0] or 0) + 1
    fields: dict[Any, Any] = {
        "type": kind,
        "to": "user:a",
        "at": at_ms or int(meta[1] or 0),
        "actor": "engine",
        "bp": "",
    }
    fields |= {"data": msgspec.json.encode(data), "cause": "", "trace": ""}
    fields |= {"state": state} if state else {}
    await client.xadd(keys.log(ZONE), fields, id=f"{seq}-0")
    await client.hset(keys.zone_meta(ZONE), "seq", seq)
    return seq


def create_notification(notification_id: str, title: str = "t") -> dict[str, Any]:
    """Return the data of a notification."""
    return {"id": notification_id, "kind": "k", "title": title, "body": "b"}


def create_payment(amount: int) -> dict[str, Any]:
    """Return the data of a captured payment of `amount`."""
    payment = {"id": f"p{amount}", "status": "captured", "amount": amount, "currency": "USD"}
    return {"job": {"id": "job_main_x"}, "payment": payment}


async def read_archived_seqs(engine: Engine) -> list[int]:
    """Return the seqs of the archived events, in order."""
    async with engine.archive.begin_read() as conn:
        return list((await conn.execute(select(events.c.seq).order_by(events.c.seq))).scalars())


async def read_quarantine(engine: Engine) -> list[tuple[int, bool]]:
    """Return the seq of each quarantined event, and whether the event itself could be stored."""
    async with engine.archive.begin_read() as conn:
        rows = await conn.execute(select(events_refused).order_by(events_refused.c.seq))
        return [(row.seq, row.kept) for row in rows]


def refused_total(engine: Engine) -> float | None:
    """Return the value of the metric `callout_archive_refused_total`."""
    return engine.metrics.registry.get_sample_value("callout_archive_refused_total", {"zone": ZONE})


async def test_a_refused_row_is_quarantined_and_the_archive_continues(engine: Engine) -> None:
    """An event whose payment row the database refuses is archived and quarantined without that row; all other events of
    its batch are archived with their rows.
    """
    for number in range(20):
        await append_event(engine, "notification", create_notification(f"n{number}"))
    bad = await append_event(engine, "payment.captured", create_payment(TOO_LARGE_FOR_BIGINT))
    for number in range(20, 40):
        await append_event(engine, "notification", create_notification(f"n{number}"))
    await append_event(engine, "payment.captured", create_payment(500))
    assert await writer.run_once(engine) == 42
    assert await read_archived_seqs(engine) == list(range(1, 43))
    assert await read_quarantine(engine) == [(bad, True)]
    async with engine.archive.begin_read() as conn:
        assert (await conn.execute(select(func.count()).select_from(notifications))).scalar() == 40
        assert list((await conn.execute(select(payments.c.amount))).scalars()) == [500]
        row = (await conn.execute(select(events_refused))).one()
    assert msgspec.json.decode(row.entry)["data"] == msgspec.json.encode(create_payment(TOO_LARGE_FOR_BIGINT)).decode()
    assert row.error and await reader.count_quarantined(engine.archive, ZONE) == refused_total(engine) == 1
    assert await reader.first_seq(engine.archive, ZONE) == 1


async def test_a_refused_event_moves_the_first_seq_behind_it(engine: Engine) -> None:
    """An event that itself cannot be stored is quarantined without its text. `first_seq` is then the seq after it, so
    that no replay from SQL has a silent gap.
    """
    await append_event(engine, "notification", create_notification("before"))
    bad = await append_event(engine, "notification", create_notification("bad"), at_ms=TOO_LARGE_FOR_BIGINT)
    after = await append_event(engine, "notification", create_notification("after"))
    await writer.run_once(engine)
    assert await read_archived_seqs(engine) == [1, after]
    assert await read_quarantine(engine) == [(bad, False)]
    assert await reader.first_seq(engine.archive, ZONE) == after
    checkpoint = await reader.checkpoint(engine.archive, ZONE)
    assert checkpoint is not None and checkpoint.seq == after


@pytest.mark.parametrize("is_stored", [True, False])
async def test_the_state_of_a_quarantined_event_is_archived(engine: Engine, is_stored: bool) -> None:
    """The changes of a refused event to a job are in `job_states`, whether or not the event itself can be stored,
    because no later event repeats them.
    """
    changed = '{"job_main_x":{"fields":{"issue":"2"}}}'
    broken: dict[str, Any] = {} if is_stored else {"at_ms": TOO_LARGE_FOR_BIGINT}
    bad = await append_event(engine, "payment.captured", create_payment(TOO_LARGE_FOR_BIGINT), state=changed, **broken)
    await writer.run_once(engine)
    assert await read_quarantine(engine) == [(bad, is_stored)]
    async with engine.archive.begin_read() as conn:
        row = (await conn.execute(select(job_states))).one()
    assert (row.job, row.seq, row.zone) == ("job_main_x", bad, ZONE)
    assert msgspec.json.decode(row.state) == {"fields": {"issue": "2"}}


async def test_a_refused_row_does_not_pause_the_archiver(engine: Engine) -> None:
    """A refused row does not make the archiver wait as for an absent database: the next step archives
    the next event.
    """
    archiver = writer.Archiver(engine)
    try:
        await append_event(engine, "payment.captured", create_payment(TOO_LARGE_FOR_BIGINT))
        assert await archiver.archive_batch(1) == 1
        await append_event(engine, "notification", create_notification("next"))
        assert await archiver.archive_batch(1) == 1
    finally:
        await archiver.close()
    assert await read_archived_seqs(engine) == [1, 2]


async def test_a_nul_is_removed_from_a_notification(engine: Engine) -> None:
    """A NUL in a notification's title is removed from its row, because PostgreSQL refuses NUL in a text; the event
    itself is read unchanged.
    """
    await append_event(engine, "notification", create_notification("n", "a\0b"))
    await writer.run_once(engine)
    async with engine.archive.begin_read() as conn:
        assert list((await conn.execute(select(notifications.c.title))).scalars()) == ["ab"]
    assert await read_quarantine(engine) == []
    (event,) = await log.read_range(engine.store.redis, ZONE, 0, 10)
    assert await reader.events(engine.archive, ZONE, 0, 10, ["user:a"], 10) == [event]


async def test_a_missing_table_quarantines_nothing(engine: Engine) -> None:
    """An error that no row causes, such as a missing table, stops the archiver; nothing is quarantined and the log
    stays.
    """
    async with engine.archive.begin_write() as conn:
        await conn.exec_driver_sql("ALTER TABLE notifications RENAME TO gone")
    await append_event(engine, "notification", create_notification("n"))
    with pytest.raises(Exception, match="notifications"):
        await writer.run_once(engine)
    assert await read_quarantine(engine) == [] and await read_archived_seqs(engine) == []


FOREIGN_ROWS: list[tuple[Table, dict[str, Any]]] = [
    (events, {"type": "x", "to": "", "at": 1, "actor": "x", "bp": "", "data": "{}", "cause": "", "trace": ""}),
    (event_channels, {"channel": "user:a"}),
    (audit, {"leaf": b"x"}),
    (events_refused, {"entry": b"{}", "error": "", "kept": False, "refused_at": 1}),
    (job_states, {"job": "job_main_x", "state": "{}"}),
]


async def test_a_foreign_row_in_the_place_of_an_event_stops_the_archiver(engine: Engine) -> None:
    """A row that another program inserted behind the checkpoint is named, and the acknowledged event is not put into
    quarantine: it is archived as soon as the row is removed. Events before it are archived.
    """
    await append_event(engine, "notification", create_notification("n1"))
    await writer.run_once(engine)
    for table, values in FOREIGN_ROWS:
        await append_event(engine, "notification", create_notification(f"{table}-before"))
        changed = '{"job_main_x":{"fields":{"issue":"2"}}}'
        seq = await append_event(engine, "payment.captured", create_payment(TOO_LARGE_FOR_BIGINT), state=changed)
        async with engine.archive.begin_write() as conn:
            await conn.execute(insert(table).values(zone=ZONE, seq=seq, **values))
        with pytest.raises(LogMismatch, match=f"{table.name} has a row in the place of event {seq}"):
            await writer.run_once(engine)
        checkpoint = await reader.checkpoint(engine.archive, ZONE)
        assert checkpoint and checkpoint.seq == seq - 1
        async with engine.archive.begin_write() as conn:
            await conn.execute(delete(table).where(table.c.seq == seq))
        await writer.run_once(engine)
        assert (await read_archived_seqs(engine))[-1] == seq


async def test_a_foreign_row_closes_the_zone_until_it_is_removed(engine: Engine) -> None:
    """An archiver that meets a foreign row closes the zone for every process, with the reason. A rebuild is refused,
    which would lose the event. When the row is removed, the zone opens by itself and the event is archived.
    """
    service = await people.service(engine)
    await append_event(engine, "notification", create_notification("n1"))
    await writer.run_once(engine)
    seq = await append_event(engine, "notification", create_notification("n2"))
    _, values = FOREIGN_ROWS[0]
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(events).values(zone=ZONE, seq=seq, **values))
    archiver, state = writer.Archiver(engine), engine.store.zones[ZONE]
    await archiver.archive_batch(1)
    await archiver.close()
    with pytest.raises(Unavailable):
        await people.technician(engine, "t1", service)
    await engine.store.reopen(ZONE, stale=state.epoch)
    await rebuilder.run_once(engine)
    assert (state.open, state.word) == (False, "FOREIGN_ROW")
    assert await rebuilder.rebuild_zone(engine, ZONE, words=rebuilder.OPERATOR_WORDS) is None
    async with engine.archive.begin_write() as conn:
        await conn.execute(delete(events).where(events.c.seq == seq))
    await rebuilder.run_once(engine)
    assert state.open
    await append_event(engine, "notification", create_notification("n3"))
    await writer.run_once(engine)
    assert (await read_archived_seqs(engine))[-2:] == [seq, seq + 1]


async def test_a_foreign_node_of_the_audit_tree_stops_the_archiver(engine: Engine) -> None:
    """A node of the audit tree that is stored before its leaves puts no event into quarantine."""
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(audit_nodes).values(zone=ZONE, tree=1, level=8, position=0, hash=b"x"))
    for number in range(256):
        await append_event(engine, "notification", create_notification(f"n{number}"))
    with pytest.raises(LogMismatch, match="audit_nodes has a row"):
        await writer.run_once(engine)
    assert await read_quarantine(engine) == []
