"""What most tests stand on: one real Valkey a session, and a fresh engine on it a test."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from engine.identity import limits
from engine.process import datadir
from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from engine.sql.database import open_archive
from server.serve import Running, running
from tests.support import epochs, valkey

Slowed = Callable[[str], None]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave the exit code for `.ci/retry.py`: make hides it."""
    if not hasattr(session.config, "workerinput") and hasattr(session.config, "cache"):
        session.config.cache.set("callout/exit", int(exitstatus))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey, shared by the session; each engine starts by emptying it. `CALLOUT_TEST_REDIS` names another
    server's program, as `redis-server`.
    """
    with valkey.running(tmp_path_factory.mktemp("valkey"), binary=os.environ.get("CALLOUT_TEST_REDIS")) as url:
        epochs.shared = url
        yield url


@pytest.fixture
def emptied(redis_url: str) -> str:
    """The same, emptied."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with the whole schema: the migrations run once, and each test begins with a copy."""
    data = tmp_path_factory.mktemp("migrated")
    apart(migrate(Settings(data=str(data))))
    return data / "callout.db"


async def migrate(settings: Settings) -> None:
    """Run the migrations."""
    await (await open_archive(settings)).close()


def apart(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` on a loop of its own, in a thread: a fixture may be made while the tests' loop runs."""
    with ThreadPoolExecutor(1) as beside:
        beside.submit(asyncio.run, work).result()


@pytest.fixture
def settings(emptied: str, tmp_path: Path, migrated: Path) -> Settings:
    """Settings of a test's own: an emptied Valkey, a data directory with an empty database, no limits."""
    begin_with(migrated, tmp_path / "data")
    return Settings(data=str(tmp_path / "data"), redis=emptied, limits="off")


def begin_with(database: Path, data: Path) -> None:
    """Make the data directory ``data`` with a copy of ``database``."""
    copy = datadir.create(data) / "callout.db"
    shutil.copyfile(database, copy)
    copy.chmod(0o600)


@pytest.fixture
def slowed(monkeypatch: pytest.MonkeyPatch) -> Slowed:
    """Makes a meter refill in an hour, so that what passes is its burst, however slow the machine is."""

    def slow(name: str) -> None:
        monkeypatch.setitem(limits.LIMITS, name, msgspec.structs.replace(limits.LIMITS[name], per_s=3600))

    return slow


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """A fresh engine without background work: a test that wants waves opens them."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(settings) as opened:
        yield opened


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Running]:
    """A whole server in this process, on a port of its own, with all its background work."""
    async with running(msgspec.structs.replace(settings, port=0)) as serving:
        yield serving
