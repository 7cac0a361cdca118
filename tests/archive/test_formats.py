"""Two releases side by side: the newer one writes the older one's format until it is raised; from then on the older one
is refused, even if it started first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from sqlalchemy import select, update

from engine.archive.apply import Superseded
from engine.domain import jobs
from engine.errors import Unavailable
from engine.process.settings import Settings, SettingsError
from engine.rebuild import rebuilder
from engine.runtime import Engine
from engine.sql.schema import checkpoints
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.workers import archiver
from engine.zone import upgrade
from tests.rebuild.scene import Scene, open_scene
from tests.support import people

META_KEY = keys.zone_meta(DEFAULT_ZONE)
OLD, NEW = 1, 2


@asynccontextmanager
async def open_release(settings: Settings, known_format: int) -> AsyncIterator[Engine]:
    """Open the engine of a release that knows formats up to ``known_format``."""
    async with open_engine(msgspec.structs.replace(settings, format=known_format)) as engine:
        yield engine


async def read_formats(engine: Engine) -> tuple[int, int]:
    """Return the format of the zone in Redis and in SQL."""
    in_redis = int(await engine.store.command("HGET", META_KEY, "format"))
    async with engine.archive.begin_read() as conn:
        in_sql = (await conn.execute(select(checkpoints.c.format))).scalar_one()
    return in_redis, in_sql


async def refuses(engine: Engine, work: Callable[[], Awaitable[object]]) -> None:
    """Assert that ``work`` is refused, because the zone has a newer format than the process knows."""
    with pytest.raises(Unavailable, match="newer release"):
        await work()
    state = engine.store.zones[DEFAULT_ZONE]
    assert (state.open, state.word) == (False, "STALE_RELEASE")


async def open_old_scene(old: Engine) -> Scene:
    """Create people and a claimed job with the older release, and archive them."""
    scene = await open_scene(old)
    await scene.book_and_claim()
    await archiver.run_once(old)
    return scene


async def test_the_newer_release_writes_the_older_format_beside_the_older_one(settings: Settings) -> None:
    """Before the upgrade both releases work on the same zone, and both write the older format."""
    async with open_release(settings, OLD) as old, open_release(settings, NEW) as new:
        scene = await open_old_scene(old)
        assert new.store.zones[DEFAULT_ZONE].format == OLD
        await people.offered_job(new, scene.customer, scene.service)
        await archiver.run_once(new)
        await people.offered_job(old, scene.customer, scene.service)
        await archiver.run_once(old)
        assert await read_formats(new) == (OLD, OLD)


async def test_a_running_older_release_is_refused_after_the_upgrade(settings: Settings) -> None:
    """After the upgrade every part of the older release that is still running stops at its next command: commands, the
    archiver and the rebuild. The newer release continues.
    """
    async with open_release(settings, OLD) as old, open_release(settings, NEW) as new:
        scene = await open_old_scene(old)
        job = await people.offered_job(old, scene.customer, scene.service)
        await upgrade.raise_all(new.store, new.archive)
        assert await read_formats(new) == (NEW, NEW)
        assert new.store.zones[DEFAULT_ZONE].format == NEW
        await refuses(old, lambda: jobs.claim(old, scene.technician, job))
        await refuses(old, lambda: people.offered_job(old, scene.customer, scene.service))
        head = await scene.read_head()
        assert await archiver.run_once(old) == 0
        assert await rebuilder.run_once(old) == []
        assert await rebuilder.rebuild_zone(old, DEFAULT_ZONE, words=rebuilder.OPERATOR_WORDS) is None
        await jobs.claim(new, scene.technician, job)
        await archiver.run_once(new)
        assert await scene.read_head() > head


async def test_an_older_release_that_starts_after_the_upgrade_is_refused(settings: Settings) -> None:
    """An older release does not open a zone of a newer format. After Redis was emptied, only SQL knows the format, and
    the older release does not rebuild the zone.
    """
    async with open_release(settings, OLD) as old:
        scene = await open_old_scene(old)
    async with open_release(settings, NEW) as new:
        await upgrade.raise_all(new.store, new.archive)
    async with open_release(settings, OLD) as old:
        await refuses(old, lambda: people.offered_job(old, scene.customer, scene.service))
        await old.store.redis.flushall()
        await old.store.reopen(DEFAULT_ZONE, stale=old.store.zones[DEFAULT_ZONE].epoch)
        assert old.store.zones[DEFAULT_ZONE].word == "STALE_RELEASE"
        assert await rebuilder.run_once(old) == []
    async with open_release(settings, NEW) as new:
        [report] = await rebuilder.run_once(new)
        assert report.word == "EMPTY" and new.store.zones[DEFAULT_ZONE].open
        assert await read_formats(new) == (NEW, NEW)


async def test_an_archiver_of_the_older_release_cannot_append(settings: Settings) -> None:
    """The compare-and-set of the checkpoint refuses an archiver that does not know the format in SQL."""
    async with open_release(settings, OLD) as old:
        scene = await open_old_scene(old)
        await people.offered_job(old, scene.customer, scene.service)
        async with old.archive.begin_write() as conn:
            await conn.execute(update(checkpoints).values(format=NEW))
        with pytest.raises(Superseded):
            await archiver.run_once(old)


async def test_an_upgrade_that_was_interrupted_is_done_again(settings: Settings) -> None:
    """After a death between SQL and Redis the same call completes the upgrade; no call lowers a format."""
    async with open_release(settings, OLD) as old:
        await open_old_scene(old)
    async with open_release(settings, NEW) as new:
        async with new.archive.begin_write() as conn:
            await conn.execute(update(checkpoints).values(format=NEW))
        await upgrade.raise_all(new.store, new.archive)
        assert await read_formats(new) == (NEW, NEW)

        async def read(name: str) -> str:
            return (await new.store.command("HGET", META_KEY, name) or b"").decode()

        async def run(*_: object) -> bool:
            raise AssertionError("nothing is to be written")

        with pytest.raises(SettingsError, match="has format 2, and this release knows 1"):
            await upgrade.raise_format(new.archive, DEFAULT_ZONE, OLD, read, run)
        assert await upgrade.raise_format(new.archive, DEFAULT_ZONE, NEW, read, run) == NEW
