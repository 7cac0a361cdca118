"""An engine with a Redis of its own, whose file the tests search for personal data. Archived events leave its log at
once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from tests.support import valkey


@pytest.fixture(scope="package")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Start a Valkey whose append-only file a test searches. Yield its folder and its URL."""
    folder = tmp_path_factory.mktemp("own-valkey")
    with valkey.run_server(folder) as url:
        yield folder, url


@pytest.fixture
async def engine(settings: Settings, own_redis: tuple[Path, str]) -> AsyncIterator[Engine]:
    """Yield an engine on the Valkey of this package. Its log has no window: archived events can leave it at once."""
    with redis.Redis.from_url(own_redis[1]) as client:
        client.flushall()
    async with open_engine(msgspec.structs.replace(settings, redis=own_redis[1], log_window_s=0.001)) as opened:
        yield opened
