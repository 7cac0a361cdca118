"""The fixtures that most tests use: one real Valkey for each session, and a new engine on it for each test."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import redis
import structlog

from engine.identity import limits, passwords
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store.redis_url import parse_url
from server.cli.main import GC_THRESHOLDS
from server.serve import RunningServer, run_server
from tests.support import cluster, delayed_chores, epochs, memory_files, shared_work, sql_reach, valkey
from tests.support.migrated import create_data_dir
from tests.support.postgres import (  # noqa: F401 (fixtures)
    default_database,
    migrated_postgres,
    postgres_pool,
    postgres_socket,
)
from tests.support.quick_passwords import QUICK_HASHER
from tests.support.wide import IS_WIDE, WideServer, run_wide_server

UNREACHED, WORKER_DIED = pytest.StashKey[list[str]](), pytest.StashKey[bool]()
SlowRefill = Callable[[str], None]
COSTLY_HASHER = passwords._hasher
"""The product's password hasher."""

gc.set_threshold(*GC_THRESHOLDS)
# A traceback that rich draws costs more than most tests.
plain_lines = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain_lines])
memory_files.use_memory_for_files()
shared_work.share()
delayed_chores.delay_chores()
sql_reach.record()


LONGEST_FILES = (
    "web/test_console.py",
    "web/test_live_map.py",
    "test_bench.py",
    "web/test_phone_stories.py",
    "nemesis/test_nemeses.py",
    "web/test_phones.py",
    "server/demo/test_visits.py",
    "nemesis/test_mutants.py",
    "archive/test_ledger_model.py",
    "server/demo/test_demo.py",
    "web/test_first_minute.py",
    "races/test_claim_races.py",
    "races/test_after_the_claim.py",
    "server/sweep/test_sweep.py",
    "server/simulation/test_replay.py",
    "races/test_lifecycle_model.py",
    "races/test_model.py",
    "faults/test_rolling_restart.py",
    "faults/test_killed.py",
    "server/web/test_client.py",
    "server/http/test_openapi.py",
    "server/gateway/test_streams.py",
    "server/gateway/test_presence.py",
    "faults/test_redis_paused.py",
    "test_packaging.py",
    "story/test_readers.py",
    "server/simulation/test_people.py",
    "server/supervisor/test_workers.py",
)
"""The files that run first, in this order, so that no worker is busy with one when the others have ended. Files with a
browser, which use both cores, alternate with files that wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    place_of = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place_of.get(item.path, len(place_of)))


def pytest_collection_finish() -> None:
    """Exclude the modules and the tests from garbage collection, as a server does with the objects of its start."""
    gc.collect()
    gc.freeze()


def pytest_testnodedown(node: Any) -> None:
    """Take over what the tests of a worker process reached."""
    reached = getattr(node, "workeroutput", {}).get("sql_reach")
    node.config.stash[WORKER_DIED] = node.config.stash.get(WORKER_DIED, False) or reached is None
    sql_reach.reached.update(map(tuple, reached or ()))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let a run of the whole suite fail if no test called a function that uses SQL on both databases, even if all tests
    passed. Store the exit code and the functions for `.ci/retry.py`, because make hides them.
    """
    config = session.config
    if hasattr(config, "workerinput"):
        config.workeroutput["sql_reach"] = sorted(sql_reach.reached)
        return
    if _ran_whole_suite(session, exitstatus):
        config.stash[UNREACHED] = sql_reach.unreached()
        exitstatus = session.exitstatus = exitstatus or int(bool(config.stash[UNREACHED]))
    if hasattr(config, "cache"):
        config.cache.set("callout/exit", int(exitstatus))
        config.cache.set("callout/unreached", config.stash.get(UNREACHED, []))


def _ran_whole_suite(session: pytest.Session, exitstatus: int) -> bool:
    """Return whether every test ran to its end (failed or not) and the functions that it called are known."""
    config = session.config
    chosen = config.args_source is not config.ArgsSource.TESTPATHS or config.option.keyword or config.option.collectonly
    return not chosen and not session.shouldfail and exitstatus in (0, 1) and not config.stash.get(WORKER_DIED, False)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the functions that touch SQL and were not reached on both databases."""
    for line in config.stash.get(UNREACHED, []):
        terminalreporter.write_line(f"no test reaches {line}")


@pytest.fixture(autouse=True)
def restored_log_settings() -> Iterator[None]:
    """Restore the settings of structlog after a test: a command that runs in this process shows only warnings, and the
    next test may look for a line of a lower level.
    """
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Hash passwords in this process at next to no cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", QUICK_HASHER)
        yield


@pytest.fixture
def costly_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in this test at the cost that they have in the product."""
    monkeypatch.setattr(passwords, "_hasher", COSTLY_HASHER)
    monkeypatch.setattr(passwords, "_unmatchable_hash", functools.cache(lambda: COSTLY_HASHER().hash("unmatched")))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start one Valkey for the whole test session, and yield its URL. `empty_redis` empties it for each test.
    `CALLOUT_TEST_REDIS` names the program of another server, for example `redis-server`, or is `cluster`.
    """
    if os.environ.get("CALLOUT_TEST_REDIS") == "cluster":
        with cluster.run_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
            yield nodes.url
        return
    with valkey.run_server(tmp_path_factory.mktemp("valkey"), binary=os.environ.get("CALLOUT_TEST_REDIS")) as url:
        epochs.session_url = url
        yield url


@pytest.fixture(scope="session")
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """Yield a client of the session's Valkey: a new connection for each test would cost more than what it is for."""
    if "+cluster" in redis_url:
        first = parse_url(redis_url).nodes[0]
        nodes = redis.RedisCluster(host=first.host, port=first.port)
        yield cast("redis.Redis", nodes)
        nodes.close()
        return
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def empty_redis(redis_url: str, redis_client: redis.Redis) -> str:
    """Delete all keys of the session's Valkey, and return its URL."""
    redis_client.flushall()  # on a cluster this empties all primaries
    return redis_url


@pytest.fixture
def settings(empty_redis: str, tmp_path: Path, default_database: str | None) -> Settings:  # noqa: F811
    """Return settings for one test: an empty Valkey, a data directory, an empty database, and no rate limits."""
    create_data_dir(tmp_path / "data")
    return Settings(data=str(tmp_path / "data"), redis=empty_redis, limits="off", database=default_database, port=0)


@pytest.fixture
def slow_refill(monkeypatch: pytest.MonkeyPatch) -> SlowRefill:
    """Return a function that makes a rate limit refill in an hour, so that exactly its burst passes on any machine."""

    def slow(name: str) -> None:
        monkeypatch.setitem(limits.LIMITS, name, msgspec.structs.replace(limits.LIMITS[name], period_s=3600))

    return slow


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """Yield a new engine without background work. A test that needs waves opens them."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(settings) as opened:
        yield opened


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[RunningServer | WideServer]:
    """Run a whole server in this process, on a port of its own, with all its background work; or in several processes
    (`tests/support/wide.py`).
    """
    if IS_WIDE:
        async with run_wide_server(settings) as wide:
            yield wide
        return
    async with run_server(msgspec.structs.replace(settings, port=0)) as serving:
        yield serving
