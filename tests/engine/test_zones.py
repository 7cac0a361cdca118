"""Tests of the opening of zones: a zone whose Redis does not continue the archived log stays closed, with a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import delete, insert, select, update

from engine.errors import Unavailable
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.sql.database import Archive, open_archive
from engine.sql.schema import checkpoints, deployment, epochs
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Cursor, Epoch
from engine.workers import archiver as writer
from engine.zone import log, records
from engine.zone.opening import CLOSED_REASONS
from tests.support import people
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until

META_KEY, EPOCHS_KEY, LOG_KEY = keys.zone_meta(DEFAULT_ZONE), keys.epochs(DEFAULT_ZONE), keys.log(DEFAULT_ZONE)
DATABASE_ID = "d1"
EVENT = {"type": "t", "to": "user:ann", "at": 1, "actor": "engine", "bp": "", "data": '{"job":null}', "cause": ""}


@pytest.fixture
def client(empty_redis: str) -> Iterator[redis.Redis]:
    """Yield a client of an empty Redis, which the test fills."""
    with redis.Redis.from_url(empty_redis) as client:
        yield client


@pytest.fixture
async def archive(settings: Settings) -> AsyncIterator[Archive]:
    """Yield an empty archive, which the test fills; the id of its database is `DATABASE_ID`."""
    Path(settings.data).mkdir(exist_ok=True)
    archive = await open_archive(settings)
    async with archive.begin_write() as conn:
        await conn.execute(update(deployment).values(id=DATABASE_ID))
    yield archive
    await archive.close()


async def write_archived_state(archive: Archive, seq: int, **first_seqs: int) -> None:
    """Write the checkpoint `seq` and the epochs into SQL. `e2_x=9` means that the epoch `e2-x` begins at seq 9."""
    async with archive.begin_write() as conn:
        if seq:
            await conn.execute(insert(checkpoints).values(zone="main", epoch="any", seq=seq))
        for epoch, first in first_seqs.items():
            await conn.execute(insert(epochs).values(zone="main", epoch=epoch.replace("_", "-"), first_seq=first))


def write_zone(client: redis.Redis, head: int, *, run_id: str = "gone", log_from: int = 1, **first_seqs: Any) -> None:
    """Write a zone into Redis, with a log up to `head`, and the epochs `first_seqs`; the last one is current."""
    names = {epoch.replace("_", "-"): first for epoch, first in first_seqs.items()}
    client.hset(META_KEY, mapping={"epoch": list(names)[-1], "seq": head, "run_id": run_id, "database": DATABASE_ID})
    client.hset(EPOCHS_KEY, mapping=names)
    for seq in range(log_from, head + 1):
        client.xadd(LOG_KEY, EVENT, id=f"{seq}-0")  # type: ignore[arg-type]


def read_run_id(client: redis.Redis) -> str:
    """Return the `run_id` of the running Redis server."""
    return str(client.info("server")["run_id"])  # type: ignore[index]


async def why_closed(settings: Settings, head: Cursor | None = None) -> str:
    """Open the zone in a process that has read the log up to `head`. Return the reason why the zone is closed, "" if it
    is open."""
    async with open_engine(settings) as engine:
        state = engine.store.zones[DEFAULT_ZONE]
        if head:
            engine.store.note_head(DEFAULT_ZONE, head)
            await engine.store.reopen(DEFAULT_ZONE, stale=head.epoch)
        if state.open:
            return ""
        with pytest.raises(Unavailable, match=state.why[:20]):
            await engine.store.run(DEFAULT_ZONE, "zone_archived", keys={"meta": META_KEY}, args={"seq": 1})
        return {text: word for word, text in CLOSED_REASONS.items()}[state.why]


# Zones that stay closed


async def test_an_empty_redis_beside_a_filled_archive_stays_closed(settings: Settings, archive: Archive) -> None:
    """A zone with an empty Redis beside an archive with events stays closed with EMPTY."""
    await write_archived_state(archive, 5, e1_a=1)
    assert await why_closed(settings) == "EMPTY"


@pytest.mark.parametrize(
    ("reason", "checkpoint", "epochs_in_sql", "zone_in_redis"),
    [
        ("BEHIND", 5, {"e1_a": 1}, {"head": 4, "e1_a": 1}),
        ("FOREIGN", 5, {"e1_a": 1}, {"head": 9, "e1_a": 2}),
        ("FOREIGN", 5, {"e1_a": 1, "e2_b": 4}, {"head": 9, "e1_a": 1}),
        ("FOREIGN", 5, {"e1_a": 1, "e2_b": 4}, {"head": 9, "e1_a": 1, "e2_c": 4}),
        ("FOREIGN", 5, {"e1_a": 1}, {"head": 9, "e1_a": 1, "e2_b": 4}),
        ("HOLE", 5, {"e1_a": 1}, {"head": 9, "log_from": 7, "e1_a": 1}),
        ("HOLE", 0, {}, {"head": 9, "log_from": 7, "e1_a": 1}),
    ],
)
async def test_another_history_than_the_archives(
    settings: Settings,
    archive: Archive,
    client: redis.Redis,
    reason: str,
    checkpoint: int,
    epochs_in_sql: dict[str, int],
    zone_in_redis: dict[str, Any],
) -> None:
    """The zone stays closed if its log is behind SQL, has other epochs, or lacks events that SQL does not have."""
    await write_archived_state(archive, checkpoint, **epochs_in_sql)
    write_zone(client, **zone_in_redis)
    before = client.hgetall(META_KEY)
    assert await why_closed(settings) == reason
    assert client.hgetall(META_KEY) == before


@pytest.mark.parametrize("newer", ["e2_b", "e1_b"])
async def test_a_redis_without_the_newest_epoch_stays_closed(
    settings: Settings, archive: Archive, client: redis.Redis, newer: str
) -> None:
    """A Redis without the newest epoch in SQL stays closed with OLDER: the address leads to an old server that did not
    restart.
    """
    await write_archived_state(archive, 5, e1_a=1, **{newer: 8})
    write_zone(client, 9, run_id=read_run_id(client), e1_a=1)
    assert await why_closed(settings) == "OLDER"


async def test_an_epoch_older_than_one_read_before_is_refused(
    settings: Settings, archive: Archive, client: redis.Redis
) -> None:
    """A process that has read a newer epoch refuses an older one with OLDER, even if SQL has no newer epoch."""
    await write_archived_state(archive, 5, e1_a=1)
    write_zone(client, 9, run_id=read_run_id(client), e1_a=1)
    assert await why_closed(settings, Cursor(Epoch("e2-b"), 9)) == "OLDER"


async def test_another_database(settings: Settings, archive: Archive, client: redis.Redis) -> None:
    """A Redis that belongs to another database stays closed with OTHER_DATABASE, so that no account
    counts as deleted.
    """
    write_zone(client, 9, e1_a=1)
    client.hset(META_KEY, "database", "d2")
    assert await why_closed(settings) == "OTHER_DATABASE"


async def test_an_empty_database_beside_a_redis_that_was_never_paired(
    settings: Settings, archive: Archive, client: redis.Redis
) -> None:
    """With an empty database, the zone stays closed with OTHER_DATABASE if Redis says that events were archived
    (`archived` is not 0)."""
    write_zone(client, 9, e1=1)
    client.hdel(META_KEY, "database")
    client.hset(META_KEY, "archived", 4)
    assert await why_closed(settings) == "OTHER_DATABASE"


async def test_a_zone_closed_by_an_operator_stays_closed(
    settings: Settings, archive: Archive, client: redis.Redis
) -> None:
    """A zone that an operator closed stays closed with CLOSED after a start."""
    write_zone(client, 9, e1_a=1)
    client.hset(META_KEY, "epoch", "closed")
    assert await why_closed(settings) == "CLOSED"


# Zones that open


async def test_a_restarted_server_that_agrees_begins_a_new_epoch_above_its_head(
    settings: Settings, archive: Archive, client: redis.Redis
) -> None:
    """If a restarted Redis has all events of SQL, the zone opens in a new epoch, which is in SQL before any command
    runs."""
    await write_archived_state(archive, 5, e1_a=1)
    write_zone(client, 9, e1_a=1)
    async with open_engine(settings) as engine:
        assert engine.store.zones[DEFAULT_ZONE].epoch == epoch_name(2)
        assert await log.read_epochs(engine.store.read_connection, DEFAULT_ZONE) == {"e1-a": 1, epoch_name(2): 10}
        zone_records = (await records.read_records(archive, [DEFAULT_ZONE]))[DEFAULT_ZONE]
        assert zone_records == (DATABASE_ID, 5, {"e1-a": 1, epoch_name(2): 10}, False, 1)


async def test_an_epoch_lost_without_archived_events_is_deleted(
    settings: Settings, archive: Archive, client: redis.Redis
) -> None:
    """An epoch that Redis lost before any event of it was archived is deleted from SQL."""
    await write_archived_state(archive, 5, e1_a=1, e2_b=10)
    write_zone(client, 9, e1_a=1)
    assert await why_closed(settings) == ""
    assert (await records.read_records(archive, [DEFAULT_ZONE]))[DEFAULT_ZONE].epochs == {
        "e1-a": 1,
        epoch_name(3): 10,
    }


async def test_redis_and_sql_of_an_older_release_open(
    settings: Settings, archive: Archive, client: redis.Redis
) -> None:
    """Epochs without a suffix, of an older release, are followed by a new epoch, and Redis gets the database's id."""
    await write_archived_state(archive, 5, e9=1, e10=3)
    write_zone(client, 9, e9=1, e10=3)
    client.hdel(META_KEY, "database")
    async with open_engine(settings) as engine:
        assert engine.store.zones[DEFAULT_ZONE].epoch == epoch_name(11)
        assert await writer.run_once(engine) == 4
    assert client.hget(META_KEY, "database") == DATABASE_ID.encode()


async def test_the_same_run_of_redis_continues_its_epoch(settings: Settings, archive: Archive) -> None:
    """A second opening on the same run of the Redis server continues the epoch of the first."""
    for _ in range(2):
        async with open_engine(settings) as engine:
            assert engine.store.zones[DEFAULT_ZONE].epoch == epoch_name(1)


async def test_a_log_that_lost_its_end_on_the_same_server_begins_a_new_epoch(engine: Engine) -> None:
    """A log that lost its newest event begins a new epoch, so that clients that have the event load
    their state again.
    """
    await people.technician(engine, "t1", await people.service(engine))
    state = engine.store.zones[DEFAULT_ZONE]
    await engine.store.redis.xdel(LOG_KEY, f"{state.seq}-0")
    await engine.store.redis.hset(META_KEY, "seq", state.seq - 1)
    await engine.store.reopen(DEFAULT_ZONE, stale=state.epoch)
    assert (state.open, state.epoch) == (True, epoch_name(2))


async def test_a_flush_under_a_running_engine_closes_the_zone(engine: Engine) -> None:
    """After FLUSHALL, which causes no disconnect, the next command is `unavailable`, and the zone closes and does not
    start with a new log.
    """
    await people.technician(engine, "t1", await people.service(engine))
    await engine.store.redis.flushall()
    with pytest.raises(Unavailable):
        await people.technician(engine, "t2", await people.service(engine))
    state = engine.store.zones[DEFAULT_ZONE]
    assert not state.open and "empty" in state.why


async def test_an_engine_follows_an_epoch_that_another_server_opened(engine: Engine) -> None:
    """A command with an outdated epoch is refused before its first write and repeated once with the new epoch."""
    service = await people.service(engine)
    await engine.store.redis.hset(META_KEY, "epoch", "e7-b")
    await engine.store.redis.hset(EPOCHS_KEY, "e7-b", 1)
    await people.technician(engine, "t1", service)
    assert engine.store.zones[DEFAULT_ZONE].epoch == "e7-b"


# With the archive away


async def raise_unavailable(*_: object) -> None:
    """Raise `Unavailable`, as a database that is away does."""
    raise Unavailable("The database is away")


async def test_a_zone_closed_because_sql_was_away_opens_by_itself(
    settings: Settings, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zone that could not be compared with SQL at the start is closed, and opens by itself once SQL is back."""
    assert await why_closed(settings) == ""
    real = records.read_records
    monkeypatch.setattr(records, "read_records", raise_unavailable)
    async with open_engine(settings) as engine:
        state = engine.store.zones[DEFAULT_ZONE]
        assert not state.open and "cannot be asked" in state.why
        monkeypatch.setattr(records, "read_records", real)
        await wait_until(lambda: state.open, within_s=5)
        assert state.epoch == epoch_name(1)


@pytest.mark.parametrize(("change", "opens"), [("none", True), ("another epoch", False), ("an older head", False)])
async def test_a_reconnection_while_sql_is_away_continues_only_the_same_log(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, change: str, opens: bool
) -> None:
    """While SQL is away, a process that reconnects to Redis continues only with an unchanged epoch and head."""
    await people.technician(engine, "t1", await people.service(engine))
    monkeypatch.setattr(records, "read_records", raise_unavailable)
    state = engine.store.zones[DEFAULT_ZONE]
    if change == "another epoch":
        await engine.store.redis.hset(META_KEY, "epoch", "e2-b")
    if change == "an older head":
        await engine.store.redis.hset(META_KEY, "seq", state.seq - 1)
    packed = engine.store.pipeline
    old_transport = packed._transport
    packed.disconnect()
    await wait_until(lambda: packed.is_up and packed._transport is not old_transport)
    assert (state.open, "cannot be asked" in state.why) == (opens, not opens)


# The archiver


@pytest.mark.parametrize("fault", ["a hole", "an epoch within the archive", "an epoch that opened elsewhere"])
async def test_an_archiver_that_cannot_go_on_closes_the_zone_for_everybody(
    engine: Engine, settings: Settings, fault: str
) -> None:
    """An archiver that finds another log closes the zone for every process, until log and SQL agree again."""
    async with open_engine(settings) as other:
        service = await people.service(engine)
        await people.technician(engine, "t1", service)
        await writer.run_once(engine)
        head = (await log.read_head(engine.store.read_connection, DEFAULT_ZONE)).seq
        for name in ("t2", "t3"):
            await people.technician(engine, name, service)
        if fault == "a hole":
            await engine.store.redis.xdel(LOG_KEY, f"{head + 1}-0")
        elif fault == "an epoch within the archive":
            await engine.store.redis.hset(EPOCHS_KEY, "e1-b", head)
        else:
            async with engine.archive.begin_write() as conn:
                await conn.execute(insert(epochs).values(zone="main", epoch="e2-b", first_seq=head + 1))
        archiver = writer.Archiver(engine)
        await archiver.archive_batch(1)
        await archiver.close()
        assert not engine.store.zones[DEFAULT_ZONE].open
        with pytest.raises(Unavailable):
            await people.technician(other, "t4", service)
        async with engine.archive.begin_write() as conn:
            assert (await conn.execute(select(checkpoints.c.seq))).scalar() == head
            await conn.execute(delete(epochs).where(epochs.c.epoch == "e2-b"))
        await engine.store.redis.hdel(EPOCHS_KEY, "e1-b")
        if fault != "a hole":
            await wait_until(lambda: other.store.zones[DEFAULT_ZONE].open, within_s=5)
            assert other.store.zones[DEFAULT_ZONE].epoch == epoch_name(2)
            await people.technician(other, "t4", service)


async def test_the_archived_seq_never_decreases(engine: Engine) -> None:
    """`archived` never decreases: a slower archiver's lower seq is ignored."""
    for seq in (7, 5):
        await engine.store.run(DEFAULT_ZONE, "zone_archived", keys={"meta": META_KEY}, args={"seq": seq})
    assert await engine.store.redis.hget(META_KEY, "archived") == b"7"
