"""Opening zones: a Redis that is not the life of the log that the archive knows stays closed, and says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import delete, insert, select, update

from engine.errors import Unavailable
from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from engine.sql.database import Archive, open_archive
from engine.sql.schema import checkpoints, deployment, epochs
from engine.store import keys
from engine.types import DEFAULT_ZONE, Cursor, Epoch
from engine.workers import archiver as writer
from engine.zone import log, records
from engine.zone.opening import CLOSED_REASONS
from tests.support import people
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until

META, EPOCHS, LOG = keys.zone_meta(DEFAULT_ZONE), keys.epochs(DEFAULT_ZONE), keys.log(DEFAULT_ZONE)
DATABASE = "d1"
EVENT = {"type": "t", "to": "user:ann", "at": 1, "actor": "engine", "bp": "", "data": '{"job":null}', "cause": ""}


@pytest.fixture
def hot(empty_redis: str) -> Iterator[redis.Redis]:
    """Redis, to be filled by hand."""
    with redis.Redis.from_url(empty_redis) as client:
        yield client


@pytest.fixture
async def cold(settings: Settings) -> AsyncIterator[Archive]:
    """The archive, to be filled by hand; its id is ``DATABASE``."""
    Path(settings.data).mkdir(exist_ok=True)
    archive = await open_archive(settings)
    async with archive.writing() as conn:
        await conn.execute(update(deployment).values(id=DATABASE))
    yield archive
    await archive.close()


async def archived(archive: Archive, seq: int, **firsts: int) -> None:
    """Write into SQL what the archiver would have; ``e2_x=9`` is the epoch e2-x."""
    async with archive.writing() as conn:
        if seq:
            await conn.execute(insert(checkpoints).values(zone="main", epoch="any", seq=seq))
        for epoch, first in firsts.items():
            await conn.execute(insert(epochs).values(zone="main", epoch=epoch.replace("_", "-"), first_seq=first))


def filled(hot: redis.Redis, head: int, *, life: str = "gone", log_from: int = 1, **firsts: Any) -> None:
    """Write into Redis what a zone has whose newest epoch is the last of ``firsts``."""
    names = {epoch.replace("_", "-"): first for epoch, first in firsts.items()}
    hot.hset(META, mapping={"epoch": list(names)[-1], "seq": head, "run_id": life, "database": DATABASE})
    hot.hset(EPOCHS, mapping=names)
    for seq in range(log_from, head + 1):
        hot.xadd(LOG, EVENT, id=f"{seq}-0")  # type: ignore[arg-type]


def run_of(hot: redis.Redis) -> str:
    """The server's present life."""
    return str(hot.info("server")["run_id"])  # type: ignore[index]


async def why_closed(settings: Settings, head: Cursor | None = None) -> str:
    """The word for what a process finds that has seen ``head`` before; "" where the zone is open."""
    async with open_engine(settings) as engine:
        state = engine.store.zones[DEFAULT_ZONE]
        if head:
            engine.store.note_head(DEFAULT_ZONE, head)
            await engine.store.reopen(DEFAULT_ZONE, stale=head.epoch)
        if state.open:
            return ""
        with pytest.raises(Unavailable, match=state.why[:20]):
            await engine.store.run(DEFAULT_ZONE, "zone_archived", keys={"meta": META}, args={"seq": 1})
        return {text: word for word, text in CLOSED_REASONS.items()}[state.why]


# What stays closed


async def test_an_empty_redis_beside_a_filled_archive(settings: Settings, cold: Archive) -> None:
    """The zone stays closed, and nothing is written."""
    await archived(cold, 5, e1_a=1)
    assert await why_closed(settings) == "EMPTY"


@pytest.mark.parametrize(
    ("word", "seq", "known", "here"),
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
async def test_another_life_than_the_archives(
    settings: Settings,
    cold: Archive,
    hot: redis.Redis,
    word: str,
    seq: int,
    known: dict[str, int],
    here: dict[str, Any],
) -> None:
    """Behind it, begun elsewhere, passed over by a failover, begun within what is archived, or with events lost."""
    await archived(cold, seq, **known)
    filled(hot, **here)
    before = hot.hgetall(META)
    assert await why_closed(settings) == word
    assert hot.hgetall(META) == before


@pytest.mark.parametrize("newer", ["e2_b", "e1_b"])
async def test_a_server_that_lacks_an_epoch_that_opened_elsewhere(
    settings: Settings, cold: Archive, hot: redis.Redis, newer: str
) -> None:
    """The name leads back to a server that did not restart: it is refused even before the newer life has any event
    archived, by a process that has only now begun.
    """
    await archived(cold, 5, e1_a=1, **{newer: 8})
    filled(hot, 9, life=run_of(hot), e1_a=1)
    assert await why_closed(settings) == "OLDER"


async def test_an_epoch_below_the_one_seen(settings: Settings, cold: Archive, hot: redis.Redis) -> None:
    """What this process has seen counts, though the archive has never heard of it."""
    await archived(cold, 5, e1_a=1)
    filled(hot, 9, life=run_of(hot), e1_a=1)
    assert await why_closed(settings, Cursor(Epoch("e2-b"), 9)) == "OLDER"


async def test_another_database(settings: Settings, cold: Archive, hot: redis.Redis) -> None:
    """A wrong or an empty database beside a filled Redis: nobody's account is gone, the zone is closed."""
    filled(hot, 9, e1_a=1)
    hot.hset(META, "database", "d2")
    assert await why_closed(settings) == "OTHER_DATABASE"


async def test_an_empty_database_beside_a_redis_that_was_never_paired(
    settings: Settings, cold: Archive, hot: redis.Redis
) -> None:
    """Redis was told that something is archived, so this is not the archive: it does not pair itself."""
    filled(hot, 9, e1=1)
    hot.hdel(META, "database")
    hot.hset(META, "archived", 4)
    assert await why_closed(settings) == "OTHER_DATABASE"


async def test_closed_by_an_operator(settings: Settings, cold: Archive, hot: redis.Redis) -> None:
    """Only who closed it opens it again."""
    filled(hot, 9, e1_a=1)
    hot.hset(META, "epoch", "closed")
    assert await why_closed(settings) == "CLOSED"


# What opens


async def test_a_restarted_server_that_agrees_begins_a_new_epoch_above_its_head(
    settings: Settings, cold: Archive, hot: redis.Redis
) -> None:
    """Another run_id with at least what the archive has: the next epoch, known to SQL before anything is done in it."""
    await archived(cold, 5, e1_a=1)
    filled(hot, 9, e1_a=1)
    async with open_engine(settings) as engine:
        assert engine.store.zones[DEFAULT_ZONE].epoch == epoch_name(2)
        assert await log.read_epochs(engine.store.reads, DEFAULT_ZONE) == {"e1-a": 1, epoch_name(2): 10}
        known = (await records.read_records(cold, [DEFAULT_ZONE]))[DEFAULT_ZONE]
        assert known == (DATABASE, 5, {"e1-a": 1, epoch_name(2): 10})


async def test_an_epoch_that_redis_lost_before_anything_was_archived_of_it_is_over(
    settings: Settings, cold: Archive, hot: redis.Redis
) -> None:
    """A crash right after the opening: the next epoch counts on above it, and the lost one is forgotten."""
    await archived(cold, 5, e1_a=1, e2_b=10)
    filled(hot, 9, e1_a=1)
    assert await why_closed(settings) == ""
    assert (await records.read_records(cold, [DEFAULT_ZONE]))[DEFAULT_ZONE].epochs == {"e1-a": 1, epoch_name(3): 10}


async def test_a_pair_of_an_older_release_goes_on(settings: Settings, cold: Archive, hot: redis.Redis) -> None:
    """Old names count without their suffix, and the pair pairs itself."""
    await archived(cold, 5, e9=1, e10=3)
    filled(hot, 9, e9=1, e10=3)
    hot.hdel(META, "database")
    async with open_engine(settings) as engine:
        assert engine.store.zones[DEFAULT_ZONE].epoch == epoch_name(11)
        assert await writer.run_once(engine) == 4
    assert hot.hget(META, "database") == DATABASE.encode()


async def test_the_same_server_keeps_its_epoch(settings: Settings, cold: Archive) -> None:
    """A second opening on the same run of the server finds the pair that the first has made."""
    for _ in range(2):
        async with open_engine(settings) as engine:
            assert engine.store.zones[DEFAULT_ZONE].epoch == epoch_name(1)


async def test_a_log_that_lost_its_end_on_the_same_server_begins_a_new_epoch(engine: Engine) -> None:
    """It followed another one for a moment: whoever had heard the lost events is not told that they are there."""
    await people.technician(engine, "t1", await people.service(engine))
    state = engine.store.zones[DEFAULT_ZONE]
    await engine.store.redis.xdel(LOG, f"{state.seq}-0")
    await engine.store.redis.hset(META, "seq", state.seq - 1)
    await engine.store.reopen(DEFAULT_ZONE, stale=state.epoch)
    assert (state.open, state.epoch) == (True, epoch_name(2))


async def test_a_flush_under_a_running_engine_closes_the_zone(engine: Engine) -> None:
    """FLUSHALL causes no disconnect; the next command finds it and the zone closes rather than starts anew."""
    await people.technician(engine, "t1", await people.service(engine))
    await engine.store.redis.flushall()
    with pytest.raises(Unavailable):
        await people.technician(engine, "t2", await people.service(engine))
    state = engine.store.zones[DEFAULT_ZONE]
    assert not state.open and "empty" in state.why


async def test_another_node_that_opens_a_new_epoch_is_followed(engine: Engine) -> None:
    """A stale belief is refused before the first write, looked up again, and the command done once."""
    serves = await people.service(engine)
    await engine.store.redis.hset(META, "epoch", "e7-b")
    await engine.store.redis.hset(EPOCHS, "e7-b", 1)
    await people.technician(engine, "t1", serves)
    assert engine.store.zones[DEFAULT_ZONE].epoch == "e7-b"


# With the archive away


async def away(*_: object) -> None:
    """What a database that is away answers."""
    raise Unavailable("The database is away")


async def test_a_zone_closed_because_sql_was_away_opens_by_itself(
    settings: Settings, cold: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a server that did not restart; the database comes back, and the zone is compared then."""
    assert await why_closed(settings) == ""
    real = records.read_records
    monkeypatch.setattr(records, "read_records", away)
    async with open_engine(settings) as engine:
        state = engine.store.zones[DEFAULT_ZONE]
        assert not state.open and "cannot be asked" in state.why
        monkeypatch.setattr(records, "read_records", real)
        await wait_until(lambda: state.open, within_s=5)
        assert state.epoch == epoch_name(1)


@pytest.mark.parametrize(("change", "opens"), [("none", True), ("another epoch", False), ("an older head", False)])
async def test_a_connection_that_comes_back_without_sql(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, change: str, opens: bool
) -> None:
    """A running process goes on in the very epoch it has in hand, and in no other."""
    await people.technician(engine, "t1", await people.service(engine))
    monkeypatch.setattr(records, "read_records", away)
    state = engine.store.zones[DEFAULT_ZONE]
    if change == "another epoch":
        await engine.store.redis.hset(META, "epoch", "e2-b")
    if change == "an older head":
        await engine.store.redis.hset(META, "seq", state.seq - 1)
    packed = engine.store.packed
    left = packed._transport
    packed.disconnect()
    await wait_until(lambda: packed.is_up and packed._transport is not left)
    assert (state.open, "cannot be asked" in state.why) == (opens, not opens)


# The archiver


@pytest.mark.parametrize("fault", ["a hole", "an epoch within the archive", "an epoch that opened elsewhere"])
async def test_an_archiver_that_cannot_go_on_closes_the_zone_for_everybody(
    engine: Engine, settings: Settings, fault: str
) -> None:
    """Every process refuses commands then; where log and archive agree again the zone opens, in a new epoch."""
    async with open_engine(settings) as other:
        serves = await people.service(engine)
        await people.technician(engine, "t1", serves)
        await writer.run_once(engine)
        head = (await log.read_head(engine.store.reads, DEFAULT_ZONE)).seq
        for name in ("t2", "t3"):
            await people.technician(engine, name, serves)
        if fault == "a hole":
            await engine.store.redis.xdel(LOG, f"{head + 1}-0")
        elif fault == "an epoch within the archive":
            await engine.store.redis.hset(EPOCHS, "e1-b", head)
        else:
            async with engine.archive.writing() as conn:
                await conn.execute(insert(epochs).values(zone="main", epoch="e2-b", first_seq=head + 1))
        archiver = writer.Archiver(engine)
        await archiver.step(1)
        await archiver.close()
        assert not engine.store.zones[DEFAULT_ZONE].open
        with pytest.raises(Unavailable):
            await people.technician(other, "t4", serves)
        async with engine.archive.writing() as conn:
            assert (await conn.execute(select(checkpoints.c.seq))).scalar() == head
            await conn.execute(delete(epochs).where(epochs.c.epoch == "e2-b"))
        await engine.store.redis.hdel(EPOCHS, "e1-b")
        if fault != "a hole":
            await wait_until(lambda: other.store.zones[DEFAULT_ZONE].open, within_s=5)
            assert other.store.zones[DEFAULT_ZONE].epoch == epoch_name(2)
            await people.technician(other, "t4", serves)


async def test_what_is_archived_is_never_taken_back(engine: Engine) -> None:
    """Of two archivers the slower one speaks last."""
    for seq in (7, 5):
        await engine.store.run(DEFAULT_ZONE, "zone_archived", keys={"meta": META}, args={"seq": seq})
    assert await engine.store.redis.hget(META, "archived") == b"7"
