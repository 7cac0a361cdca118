"""What most tests stand on: one real Valkey a session, and a fresh engine on it a test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from engine.runtime import Engine, open_engine
from engine.settings import Settings
from server.serve import Running, running
from tests import epochs, valkey


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


@pytest.fixture
def settings(emptied: str, tmp_path: Path) -> Settings:
    """Settings of a test's own: an emptied Valkey, a fresh data directory, no limits."""
    return Settings(data=str(tmp_path / "data"), redis=emptied, limits="off")


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
