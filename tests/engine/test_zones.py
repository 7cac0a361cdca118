"""Opening zones: Redis found empty, behind or of another life stays closed, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from sqlalchemy import insert

from engine.archive import reader
from engine.archive.database import open_archive
from engine.archive.schema import checkpoints, epochs
from engine.errors import Unavailable
from engine.runtime import Engine, open_engine
from engine.settings import Settings
from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests import people
from tests.wait import wait_until

META = keys.meta(DEFAULT_ZONE)


async def archive_knows(settings: Settings, seq: int, **firsts: int) -> None:
    """Write into SQL what the archiver would have."""
    Path(settings.data).mkdir(exist_ok=True)
    archive = await open_archive(settings)
    async with archive.writing() as conn:
        last = list(firsts)[-1]
        await conn.execute(insert(checkpoints).values(zone="main", epoch=last, seq=seq))
        for epoch, first in firsts.items():
            await conn.execute(insert(epochs).values(zone="main", epoch=epoch, first_seq=first))
    await archive.close()


@pytest.mark.parametrize(
    ("hot", "why"),
    [
        ({}, "empty"),
        ({"epoch": "e1", "seq": 40, "run_id": "gone"}, "behind"),
        ({"epoch": "e1", "seq": 90, "run_id": "gone", "first": 7}, "another life"),
    ],
)
async def test_a_redis_that_the_archive_contradicts_stays_closed(
    settings: Settings, hot: dict[str, object], why: str
) -> None:
    """The zone says why it is closed, and every command is `unavailable`."""
    await archive_knows(settings, 50, e1=1)
    with redis.Redis.from_url(settings.redis or "") as client:
        first = hot.pop("first", 1)
        if hot:
            client.hset(META, mapping=hot)  # type: ignore[arg-type]
            client.hset(keys.epochs(DEFAULT_ZONE), "e1", first)  # type: ignore[arg-type]
    async with open_engine(settings) as engine:
        assert not engine.store.zones[DEFAULT_ZONE].open
        assert why in engine.store.zones[DEFAULT_ZONE].why
        with pytest.raises(Unavailable, match=why):
            await people.technician(engine, "t1", "s1")  # type: ignore[arg-type]
    with redis.Redis.from_url(settings.redis or "") as client:
        assert client.exists(keys.log(DEFAULT_ZONE)) == 0


async def test_a_restarted_server_that_agrees_begins_a_new_epoch_above_its_head(settings: Settings) -> None:
    """Another run_id with at least what the archive has: the next epoch, counting on, known to all."""
    await archive_knows(settings, 50, e1=1)
    with redis.Redis.from_url(settings.redis or "") as client:
        client.hset(META, mapping={"epoch": "e1", "seq": 60, "run_id": "gone"})
        client.hset(keys.epochs(DEFAULT_ZONE), "e1", 1)
    async with open_engine(settings) as engine:
        assert engine.store.zones[DEFAULT_ZONE].epoch == "e2"
        assert await engine.store.redis.hgetall(keys.epochs(DEFAULT_ZONE)) == {b"e1": b"1", b"e2": b"61"}


async def test_the_same_server_needs_no_archive(settings: Settings) -> None:
    """A second opening on the same run of the server keeps the epoch."""
    Path(settings.data).mkdir(exist_ok=True)
    for _ in range(2):
        async with open_engine(settings) as engine:
            assert engine.store.zones[DEFAULT_ZONE].epoch == "e1"


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
    await engine.store.redis.hset(META, "epoch", "e7")
    await people.technician(engine, "t1", serves)
    assert engine.store.zones[DEFAULT_ZONE].epoch == "e7"
    await wait_until(lambda: engine.store.packed.up)


async def test_a_zone_closed_because_sql_was_away_opens_by_itself(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database comes back after the start: the zone is compared then, without a restart or a command."""
    Path(settings.data).mkdir(exist_ok=True)
    real = reader.checkpoint

    async def away(*_: object) -> None:
        raise Unavailable("The database is away")

    monkeypatch.setattr(reader, "checkpoint", away)
    async with open_engine(settings) as engine:
        state = engine.store.zones[DEFAULT_ZONE]
        assert not state.open and "cannot be asked" in state.why
        monkeypatch.setattr(reader, "checkpoint", real)
        await wait_until(lambda: state.open, within_s=5)
        assert state.epoch == "e1"
