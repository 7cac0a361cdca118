"""Tests of the archiver on real servers: what it refuses, that it loses no event, and that no command waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Table, func, insert, select

from engine.archive import apply, reader
from engine.archive.projection import fold_events
from engine.archive.reader import Checkpoint
from engine.domain import archive_lag, jobs
from engine.domain.jobs import CommandInput
from engine.errors import Indeterminate, Unavailable
from engine.runtime import Engine
from engine.sql.schema import event_channels, events, notifications, offers
from engine.sql.schema import jobs as job_rows
from engine.store import keys, pipeline
from engine.types import DEFAULT_ZONE, Epoch, JobId, Principal, TechnicianId, UserId
from engine.workers import archiver as writer
from engine.workers import position_archive
from engine.zone import log
from tests.archive.conftest import DatabaseAway
from tests.support import people
from tests.support.closed_zone import closed_zone
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until

ZONE = DEFAULT_ZONE


async def append_events(
    engine: Engine, count: int = 1, *, skip: int = 0, kind: str = "announcement.x", age_s: int = 0
) -> int:
    """Append `count` events to the log and return the head. `skip` leaves out as many seqs before the events."""
    client = engine.store.redis
    meta = await client.hmget(keys.zone_meta(ZONE), ["seq", "now"])
    seq = int(meta[0] or 0) + skip
    for _ in range(count):
        seq += 1
        data = msgspec.json.encode({"id": uuid.uuid4().hex, "kind": "k", "title": "t", "body": "b" * 100})
        fields: dict[Any, Any] = {
            "type": kind,
            "to": "user:a role:ops",
            "at": int(meta[1] or 0) - age_s * 1000,
            "actor": "engine",
        }
        await client.xadd(keys.log(ZONE), {**fields, "bp": "", "data": data, "cause": ""}, id=f"{seq}-0")
    await client.hset(keys.zone_meta(ZONE), "seq", seq)
    return seq


async def count_rows(engine: Engine, table: Table) -> int:
    """Return the number of rows of a table."""
    async with engine.archive.begin_read() as conn:
        return (await conn.execute(select(func.count()).select_from(table))).scalar() or 0


async def log_seqs(engine: Engine) -> list[int]:
    """Return the seqs of the events that are in the log."""
    return [event.seq for event in await log.read_range(engine.store.redis, ZONE, 0, 10_000)]


async def archived_seq(engine: Engine) -> int:
    """Return the seq of the checkpoint, 0 if there is none."""
    checkpoint = await reader.checkpoint(engine.archive, ZONE)
    return checkpoint.seq if checkpoint else 0


@contextlib.asynccontextmanager
async def run_archiver(engine: Engine) -> AsyncIterator[asyncio.Task[None]]:
    """Run the archiver inside the context."""
    task = asyncio.create_task(writer.run(engine))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def complete_job(engine: Engine) -> tuple[JobId, Principal, Principal]:
    """Create a job, offer it to two technicians and complete it. Return its id, the winner and the loser."""
    service = await people.service(engine)
    customer = await people.customer(engine)
    winner = await people.technician(engine, "winner", service)
    loser = await people.technician(engine, "loser", service)
    job = await people.offered_job(engine, customer, service)
    await jobs.claim(engine, winner, job)
    for command in ("depart", "arrive", "start", "complete"):
        await jobs.run_command(engine, winner, job, CommandInput(command=command))
    return job, winner, loser


# What the archiver refuses


async def test_refuses_a_log_with_a_hole(engine: Engine) -> None:
    """A batch that does not follow the checkpoint is not archived, and nothing is trimmed."""
    await append_events(engine, 3)
    await writer.run_once(engine)
    await append_events(engine, 2, skip=1)
    with pytest.raises(writer.LogGap, match="5 where 4"):
        await writer.run_once(engine)
    assert await archived_seq(engine) == 3
    assert await log_seqs(engine) == [1, 2, 3, 5, 6]


async def test_refuses_a_log_that_begins_late(engine: Engine) -> None:
    """A log whose first seq is not 1 is refused by an empty archive: it is the wrong database, not a first start."""
    await append_events(engine, 2, skip=10)
    with pytest.raises(writer.LogGap, match="11 where 1"):
        await writer.run_once(engine)
    assert await archived_seq(engine) == 0


async def test_the_checkpoint_refuses_a_second_archiver(engine: Engine) -> None:
    """Of two archivers that apply one batch, one succeeds; the other raises `Superseded` and writes nothing."""
    await append_events(engine, 4)
    logged_events = await log.read_range(engine.store.redis, ZONE, 0, 10)
    first_seqs = await log.read_epochs(engine.store.read_connection, ZONE)
    after = Checkpoint(Epoch(epoch_name(1)), 4)

    async def apply_batch() -> None:
        await apply.apply_batch(
            engine.archive, ZONE, fold_events(logged_events), before=None, after=after, in_redis=first_seqs
        )

    results = await asyncio.gather(apply_batch(), apply_batch(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "Superseded"]
    stale = Checkpoint(Epoch(epoch_name(1)), 3)
    with pytest.raises(apply.Superseded):
        await apply.apply_batch(engine.archive, ZONE, fold_events([]), before=stale, after=after, in_redis=first_seqs)
    other = Checkpoint(Epoch(epoch_name(9)), 4)
    with pytest.raises(apply.Superseded):
        await apply.apply_batch(engine.archive, ZONE, fold_events([]), before=other, after=after, in_redis=first_seqs)
    assert await count_rows(engine, events) == 4


async def test_refuses_another_history_of_the_log(engine: Engine) -> None:
    """An archived epoch that begins at another seq in Redis raises `LogMismatch`, although the seqs continue."""
    await append_events(engine, 2)
    await writer.run_once(engine)
    await engine.store.redis.hset(keys.epochs(ZONE), epoch_name(1), 2)
    await append_events(engine, 2)
    with pytest.raises(apply.LogMismatch):
        await writer.run_once(engine)
    assert await archived_seq(engine) == 2


async def test_a_closed_zone_is_not_archived(engine: Engine) -> None:
    """The archiver archives nothing of a closed zone, because its log may not match the archive."""
    await append_events(engine, 2)
    with closed_zone(engine.store, ZONE):
        assert await writer.run_once(engine) == 0
        assert await archived_seq(engine) == 0


# What the archiver writes


async def test_a_job_with_its_offers_is_in_sql_as_it_ended(engine: Engine) -> None:
    """SQL has all events, the job and both offers in their last state, and the history."""
    job, winner, loser = await complete_job(engine)
    await writer.run_once(engine)
    assert (
        await count_rows(engine, events)
        == await archived_seq(engine)
        == (await log.read_head(engine.store.read_connection, ZONE)).seq
    )
    document = msgspec.json.decode(await reader.job(engine.archive, job) or b"")
    assert (document["status"], document["phase"], document["technician"]["id"]) == ("completed", "done", winner.id)
    async with engine.archive.begin_read() as conn:
        status_of = {row.technician: row.status for row in await conn.execute(select(offers))}
    assert status_of == {winner.id: "accepted", loser.id: "expired"}
    commands = [item.command for item in await reader.history(engine.archive, job)]
    assert commands == ["create", "claim", "depart", "arrive", "start", "complete"]
    received = await reader.events(engine.archive, ZONE, 0, 10_000, [f"user:{loser.id}"], 100)
    assert [event.type for event in received] == ["session.work", "technician.status", "offer.created", "offer.closed"]


async def test_archived_events_are_equal_to_those_of_the_log(engine: Engine) -> None:
    """Archived events are equal to those of the log, byte for byte."""
    await complete_job(engine)
    from_log = await log.read_range(engine.store.redis, ZONE, 0, 10_000)
    await writer.run_once(engine)
    assert await reader.events(engine.archive, ZONE, 0, 10_000, [f"zone:{ZONE}"], 10_000) == from_log


async def test_redis_receives_the_archived_seq(engine: Engine) -> None:
    """Redis gets `archived`, and a finished job's keys get a TTL of at most one day; a live job's keys get none."""
    job, _, _ = await complete_job(engine)
    live = await people.offered_job(engine, await people.customer(engine), await people.service(engine))
    await writer.run_once(engine)
    assert int(await engine.store.redis.hget(keys.zone_meta(ZONE), "archived") or 0) == await archived_seq(engine)
    assert 0 < await engine.store.redis.ttl(keys.job(ZONE, job)) <= 86_400
    assert await engine.store.redis.ttl(keys.job(ZONE, live)) == -1
    assert await apply.unarchived_jobs(engine.archive, ZONE, 10) == []


async def test_killed_between_commit_and_notification_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an archiver died between commit and notification, the next notifies Redis and archives nothing twice."""
    job, _, _ = await complete_job(engine)

    async def raise_interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer.Archiver, "_notify_redis", _notify_then_fail(raise_interrupt))
        with pytest.raises(KeyboardInterrupt):
            await writer.run_once(engine)
    head = (await log.read_head(engine.store.read_connection, ZONE)).seq
    assert await archived_seq(engine) == head
    assert not await engine.store.redis.hget(keys.zone_meta(ZONE), "archived")
    await append_events(engine, 2)
    await writer.run_once(engine)
    assert await count_rows(engine, events) == head + 2
    assert int(await engine.store.redis.hget(keys.zone_meta(ZONE), "archived") or 0) == head + 2
    assert await engine.store.redis.ttl(keys.job(ZONE, job)) > 0


def _notify_then_fail(fail: Any) -> Any:
    """Return a replacement of `_notify_redis` that does nothing at the first call and then calls ``fail``."""
    calls = 0

    async def notify(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            await fail()

    return notify


async def test_a_lost_commit_is_asked_for_and_not_repeated(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reply to a commit is lost, the archiver reads the checkpoint and does not repeat the batch."""
    real = apply.apply_batch
    lost = 0

    async def apply_and_lose_reply(*args: Any, **named: Any) -> None:
        nonlocal lost
        await real(*args, **named)
        if not lost:
            lost += 1
            raise Indeterminate("no answer")

    monkeypatch.setattr(apply, "apply_batch", apply_and_lose_reply)
    await append_events(engine, 5)
    async with run_archiver(engine):
        await wait_until(lambda: lost)
        await append_events(engine, 5)
        await wait_until(lambda: _is_archived(engine, 10))
    assert await count_rows(engine, events) == 10


async def test_two_archivers_make_no_difference(engine: Engine) -> None:
    """With two archivers each event is archived once, and when one stops the other continues."""
    await append_events(engine, 50)
    first, second = writer.Archiver(engine, strict=True), writer.Archiver(engine, strict=True)
    results = await asyncio.gather(first.archive_batch(1), second.archive_batch(1), return_exceptions=True)
    assert {type(result) for result in results} <= {int, apply.Superseded}
    await first.close()
    await append_events(engine, 50)
    with contextlib.suppress(apply.Superseded):
        await second.archive_batch(1)
    await second.close()
    await writer.run_once(engine)
    assert (await count_rows(engine, events), await count_rows(engine, event_channels)) == (100, 200)


async def test_the_database_away_and_back(engine: Engine, database_away: DatabaseAway) -> None:
    """While the database is away claims succeed and the log grows; later everything is archived in order."""
    service = await people.service(engine)
    customer = await people.customer(engine)
    await people.technician(engine, "t", service, capacity=9)
    job = await people.offered_job(engine, customer, service)
    async with run_archiver(engine):
        await wait_until(lambda: _has_caught_up(engine))
        before = await archived_seq(engine)
        async with database_away():
            with pytest.raises(Unavailable):
                await people.service(engine)
            claimed = await jobs.claim(engine, people.technician_without_account("t"), job)
            assert claimed.seq > before
            await append_events(engine, 5)
            await wait_until(lambda: _read_lag(engine))
        await wait_until(lambda: _has_caught_up(engine), within_s=20)
    assert await count_rows(engine, events) == (await log.read_head(engine.store.read_connection, ZONE)).seq
    document = msgspec.json.decode(await reader.job(engine.archive, job) or b"")
    assert document["status"] == "accepted"


async def test_a_cancelled_archiver_finishes_its_batch(engine: Engine) -> None:
    """A cancelled archiver finishes its batch: checkpoint and events agree whenever it is cancelled."""
    for turns in (3, 10, 30, 100, 300):
        await append_events(engine, 200)
        archiver = writer.Archiver(engine)
        task = asyncio.create_task(archiver.archive_batch(1))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await archiver.close()
        assert await count_rows(engine, events) == await archived_seq(engine)
    await writer.run_once(engine)
    assert await count_rows(engine, events) == 1_000


# What leaves the log


async def test_nothing_leaves_the_log_before_it_is_archived(engine: Engine, database_away: DatabaseAway) -> None:
    """Events that are not archived are never trimmed from the log, not even very old ones."""
    await append_events(engine, 3, age_s=100_000)
    async with database_away():
        with pytest.raises(Unavailable):
            await writer.run_once(engine)
    assert await log_seqs(engine) == [1, 2, 3]
    assert await writer.trim_log(engine, ZONE, 0) == 0


async def test_archived_events_older_than_the_window_leave_the_log(engine: Engine) -> None:
    """Archived events older than the window leave the log; newer ones stay for clients that resume."""
    await append_events(engine, 4, age_s=601)
    await append_events(engine, 3, age_s=590)
    await writer.run_once(engine)
    assert await log_seqs(engine) == [5, 6, 7]
    assert await count_rows(engine, events) == 7
    await append_events(engine, 1)
    await writer.run_once(engine)
    assert await archived_seq(engine) == 8


async def test_a_log_over_its_bytes_loses_the_oldest_archived(engine: Engine) -> None:
    """A log larger than `log_window_bytes` loses its oldest archived events, even if they are recent."""
    small = dataclasses.replace(engine, settings=msgspec.structs.replace(engine.settings, log_window_bytes=40_000))
    await append_events(engine, 600)
    assert await writer.trim_log(small, ZONE, 0) == 0
    await writer.run_once(engine)
    assert await writer.trim_log(small, ZONE, 10) == 10
    await writer.run_once(small)
    remaining_seqs = await log_seqs(engine)
    assert remaining_seqs[-1] == 600
    assert 0 < len(remaining_seqs) < 300
    assert (await engine.store.redis.memory_usage(keys.log(ZONE)) or 0) < 60_000


# Notifications, positions and metrics


async def test_notifications_become_rows_of_their_user(engine: Engine) -> None:
    """A `notification` event becomes a row of the user to whom it is addressed."""
    await append_events(engine, 2, kind="notification")
    await writer.run_once(engine)
    async with engine.archive.begin_read() as conn:
        assert {row.user for row in await conn.execute(select(notifications))} == {"a"}
    assert await count_rows(engine, notifications) == 2


async def test_a_snapshot_stores_last_positions(engine: Engine) -> None:
    """A snapshot stores the last position of each technician who has one, in place of the older one."""
    service = await people.service(engine)
    await people.technician(engine, "t1", service)
    await people.technician(engine, "t2", service, at=None)
    assert await position_archive.store_positions(engine, ZONE) == 1
    assert await position_archive.store_positions(engine, ZONE) == 1
    (position,) = await reader.last_positions(engine.archive, ZONE)
    assert (position.technician, position.lat, position.lon) == ("t1", people.HERE.lat, people.HERE.lon)


async def test_a_snapshot_of_many_technicians_is_read_in_pages(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot waits for at most `SNAPSHOT_MAX_COMMANDS` records at once, so commands on the same connection are not
    delayed.
    """
    monkeypatch.setattr(pipeline, "MAX_QUEUED", 600)
    monkeypatch.setattr(position_archive, "SNAPSHOT_PAUSE_S", 0.0)
    async with engine.store.redis.pipeline(transaction=False) as pipe:
        for number in range(1_300):
            pipe.zadd(keys.last_seen(ZONE), {f"t{number}": number})
            fix: dict[Any, Any] = {"lat": 1.0, "lon": 2.0, "fix_at": 3}
            pipe.hset(keys.technician(ZONE, TechnicianId(UserId(f"t{number}"))), mapping=fix)
        await pipe.execute()
    waiting: list[int] = []

    async def measure_queue() -> None:
        while True:
            waiting.append(len(engine.store.pipeline._waiting))
            await asyncio.sleep(0)

    looking = asyncio.create_task(measure_queue())
    assert await position_archive.store_positions(engine, ZONE) == 1_300
    looking.cancel()
    assert max(waiting) <= position_archive.SNAPSHOT_MAX_COMMANDS
    assert len(await reader.last_positions(engine.archive, ZONE)) == 1_300


async def test_a_snapshot_that_fails_does_not_stop_the_archive(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed snapshot of positions is logged, and the archiver continues to archive events."""

    async def raise_unavailable(*_: Any) -> int:
        raise Unavailable("too much is waiting")

    monkeypatch.setattr(position_archive, "store_positions", raise_unavailable)
    archiver = writer.Archiver(engine)
    for _ in range(3):
        await append_events(engine, 2)
        assert await archiver.archive_batch(1) == 2
    await archiver.close()
    assert await archived_seq(engine) == 6


async def test_a_new_archiver_notifies_redis_of_all_unarchived_jobs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archiver that starts notifies Redis of every finished job that is unarchived, in several batches."""
    monkeypatch.setattr(writer, "JOBS_PER_NOTICE", 2)
    row: dict[str, Any] = {"zone": ZONE, "blueprint": "x", "status": "done", "phase": "done", "version": 1}
    row |= {"customer": "c", "service": "s", "created_at": 0, "updated_at": 0, "hot": True, "doc": "{}"}
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(job_rows), [row | {"id": f"job_main_{number}"} for number in range(7)])
    for number in range(7):
        await engine.store.redis.hset(
            keys.job(ZONE, JobId(f"job_main_{number}")), mapping={"phase": "done", "customer": "c"}
        )
    await writer.run_once(engine)
    for number in range(7):
        assert await engine.store.redis.ttl(keys.job(ZONE, JobId(f"job_main_{number}"))) > 0
    assert await apply.unarchived_jobs(engine.archive, ZONE, 10) == []


async def test_the_lag_is_shown(engine: Engine, database_away: DatabaseAway) -> None:
    """`lag` returns the events and seconds by which SQL is behind the log, and `/metrics` shows the events."""
    assert await archive_lag.read_lag(engine, ZONE) == (0, 0.0)
    async with run_archiver(engine):
        await append_events(engine, 3)
        await wait_until(lambda: _has_caught_up(engine))
        async with database_away():
            await append_events(engine, 7, age_s=30)
            lag = await wait_until(lambda: _read_lag(engine))
            assert (lag.events, lag.seconds >= 30) == (7, True)
            is_shown = await wait_until(lambda: b'archive_lag_events{zone="main"} 7.0' in engine.metrics.render())
            assert is_shown
        await wait_until(lambda: b'archive_lag_events{zone="main"} 0.0' in engine.metrics.render(), within_s=20)


async def test_a_finished_job_stays_in_sql_once_its_keys_are_gone(engine: Engine) -> None:
    """A finished job is read from SQL after its keys in Redis are gone."""
    job, _, _ = await complete_job(engine)
    await writer.run_once(engine)
    await engine.store.redis.delete(keys.job(ZONE, job))
    assert await count_rows(engine, job_rows) == 1
    assert msgspec.json.decode(await reader.job(engine.archive, job) or b"")["id"] == job


async def _is_archived(engine: Engine, seq: int) -> bool:
    """Return whether the checkpoint has reached `seq`."""
    return await archived_seq(engine) >= seq


async def _has_caught_up(engine: Engine) -> bool:
    """Return whether SQL has all events of a log that is not empty."""
    return (await archive_lag.read_lag(engine, ZONE)).events == 0 and (
        await log.read_head(engine.store.read_connection, ZONE)
    ).seq > 0


async def _read_lag(engine: Engine) -> archive_lag.ArchiveLag | None:
    """Return the lag, None if there is none."""
    lag = await archive_lag.read_lag(engine, ZONE)
    return lag if lag.events else None
