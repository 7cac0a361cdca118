"""What the database does not take: set aside with an alarm, on both databases, and in nobody's way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from engine.archive import reader
from engine.runtime import Engine
from engine.sql.schema import events, events_refused, notifications, payments
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.workers import archiver as writer
from engine.zone import log

ZONE = DEFAULT_ZONE
HUGE = 10**20
"""More than a BIGINT holds."""


async def append(engine: Engine, kind: str, data: dict[str, Any], *, at: int | None = None) -> int:
    """One event straight into the log; returns its seq."""
    client = engine.store.redis
    meta: Any = await client.hmget(keys.zone_meta(ZONE), ["seq", "now"])
    seq = int(meta[0] or 0) + 1
    fields: dict[Any, Any] = {"type": kind, "to": "user:a", "at": at or int(meta[1] or 0), "actor": "engine", "bp": ""}
    fields |= {"data": msgspec.json.encode(data), "cause": ""}
    await client.xadd(keys.log(ZONE), fields, id=f"{seq}-0")
    await client.hset(keys.zone_meta(ZONE), "seq", seq)
    return seq


def notice(name: str, title: str = "t") -> dict[str, Any]:
    return {"id": name, "kind": "k", "title": title, "body": "b"}


def payment(amount: int) -> dict[str, Any]:
    told = {"id": f"p{amount}", "status": "captured", "amount": amount, "currency": "USD"}
    return {"job": {"id": "job_main_x"}, "payment": told}


async def seqs(engine: Engine) -> list[int]:
    async with engine.archive.reading() as conn:
        return list((await conn.execute(select(events.c.seq).order_by(events.c.seq))).scalars())


async def aside(engine: Engine) -> list[tuple[int, bool]]:
    """What was set aside: seq, and whether the event itself was kept."""
    async with engine.archive.reading() as conn:
        rows = await conn.execute(select(events_refused).order_by(events_refused.c.seq))
        return [(row.seq, row.kept) for row in rows]


def alarms(engine: Engine) -> float | None:
    return engine.metrics.registry.get_sample_value("callout_archive_refused_total", {"zone": ZONE})


async def test_a_row_that_is_refused_is_set_aside_and_the_archive_goes_on(engine: Engine) -> None:
    """Its event is kept, what follows from it is not; all others of its batch are archived whole."""
    for number in range(20):
        await append(engine, "notification", notice(f"n{number}"))
    bad = await append(engine, "payment.captured", payment(HUGE))
    for number in range(20, 40):
        await append(engine, "notification", notice(f"n{number}"))
    await append(engine, "payment.captured", payment(500))
    assert await writer.run_once(engine) == 42
    assert await seqs(engine) == list(range(1, 43))
    assert await aside(engine) == [(bad, True)]
    async with engine.archive.reading() as conn:
        assert (await conn.execute(select(func.count()).select_from(notifications))).scalar() == 40
        assert list((await conn.execute(select(payments.c.amount))).scalars()) == [500]
        row = (await conn.execute(select(events_refused))).one()
    assert msgspec.json.decode(row.entry)["data"] == msgspec.json.encode(payment(HUGE)).decode()
    assert row.error and await reader.count_quarantined(engine.archive, ZONE) == alarms(engine) == 1
    assert await reader.first_seq(engine.archive, ZONE) == 1


async def test_an_event_that_is_itself_refused_leaves_a_note_and_a_hole_that_is_told(engine: Engine) -> None:
    """Nothing of it can be kept: a replay from SQL reaches back to after it alone, so that nobody has a silent gap."""
    await append(engine, "notification", notice("before"))
    bad = await append(engine, "notification", notice("bad"), at=HUGE)
    after = await append(engine, "notification", notice("after"))
    await writer.run_once(engine)
    assert await seqs(engine) == [1, after]
    assert await aside(engine) == [(bad, False)]
    assert await reader.first_seq(engine.archive, ZONE) == after
    found = await reader.checkpoint(engine.archive, ZONE)
    assert found is not None and found.seq == after


async def test_a_refused_row_is_no_database_that_is_away(engine: Engine) -> None:
    """An archiver that runs never waits for it: what follows is in SQL at its next look."""
    archiver = writer.Archiver(engine)
    try:
        await append(engine, "payment.captured", payment(HUGE))
        assert await archiver.step(1) == 1
        await append(engine, "notification", notice("next"))
        assert await archiver.step(1) == 1
    finally:
        await archiver.close()
    assert await seqs(engine) == [1, 2]


async def test_a_notice_with_nul_is_archived_without_it(engine: Engine) -> None:
    """PostgreSQL takes no NUL in a text: the words stay, the byte goes."""
    await append(engine, "notification", notice("n", "a\0b"))
    await writer.run_once(engine)
    async with engine.archive.reading() as conn:
        assert list((await conn.execute(select(notifications.c.title))).scalars()) == ["ab"]
    assert await aside(engine) == []
    (told,) = await log.read_range(engine.store.redis, ZONE, 0, 10)
    assert await reader.events(engine.archive, ZONE, 0, 10, ["user:a"], 10) == [told]


async def test_what_is_a_bug_of_ours_sets_nothing_aside(engine: Engine) -> None:
    """A table that is not there is no row's fault: the archive stops with it, and keeps the log."""
    async with engine.archive.writing() as conn:
        await conn.exec_driver_sql("ALTER TABLE notifications RENAME TO gone")
    await append(engine, "notification", notice("n"))
    with pytest.raises(Exception, match="notifications"):
        await writer.run_once(engine)
    assert await aside(engine) == [] and await seqs(engine) == []
