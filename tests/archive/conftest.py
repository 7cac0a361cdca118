"""Fixtures that run each test of the archive on both databases: SQLite in a file, and PostgreSQL, for some tests behind
a proxy whose connections the test can cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from engine.process.settings import Settings
from engine.sql import database
from engine.sql.database import Archive, open_archive
from tests.support.migrated import create_data_dir
from tests.support.postgres import url_of
from tests.support.wait import wait_until

SETTINGS_FIXTURES = {"sqlite": "sqlite_settings", "postgresql": "postgres_settings"}
"""The fixture with the settings of each database."""
DatabaseAway = Callable[[], AbstractAsyncContextManager[None]]


class PostgresProxy:
    """A Unix socket that forwards connections to PostgreSQL. A closed proxy cuts the database off."""

    def __init__(self, folder: Path, behind: Path) -> None:
        self.folder = folder
        self._behind = str(behind / ".s.PGSQL.5432")
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accept connections of clients on the proxy's socket."""
        self._server = await asyncio.start_unix_server(self._connect, self.folder / ".s.PGSQL.5432")

    async def close(self) -> None:
        """Abort all connections and remove the socket."""
        assert self._server
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / ".s.PGSQL.5432")

    async def _connect(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        """Connect a client to PostgreSQL and forward both directions."""
        far, far_out = await asyncio.open_unix_connection(self._behind)
        self._open |= {near_out, far_out}
        for pair in ((near, far_out), (far, near_out)):
            task = asyncio.create_task(self._forward(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Copy bytes from `source` to `sink` until `source` ends."""
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        self._open.discard(sink)
        sink.transport.abort()


@pytest.fixture
async def empty_postgres(postgres_socket: Path) -> AsyncIterator[str]:
    """Yield the name of a new database without a schema."""
    name = f"t{uuid.uuid4().hex}"
    admin = await asyncpg.connect(host=str(postgres_socket), user="postgres", database="postgres")
    await admin.execute(f"CREATE DATABASE {name}")
    yield name
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
def has_schema() -> bool:
    """Return whether a test's database has the schema at its start. A module of migrations overrides
    this with false.
    """
    return True


@pytest.fixture
def base_settings(empty_redis: str, tmp_path: Path) -> Settings:
    """Return settings of the test's own, without a database."""
    return Settings(data=str(tmp_path / "data"), redis=empty_redis, limits="off")


@pytest.fixture
def sqlite_settings(base_settings: Settings, has_schema: bool, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings with an SQLite database."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 100)
    if has_schema:
        create_data_dir(Path(base_settings.data))
    return base_settings


@pytest.fixture
def postgres_name(request: pytest.FixtureRequest, has_schema: bool) -> str:
    """Return the name of a PostgreSQL database."""
    name: str = request.getfixturevalue("migrated_postgres" if has_schema else "empty_postgres")
    return name


@pytest.fixture
async def postgres_settings(
    request: pytest.FixtureRequest, base_settings: Settings, postgres_socket: Path, postgres_name: str, tmp_path: Path
) -> AsyncIterator[Settings]:
    """Yield settings with a PostgreSQL database; behind a proxy if the test cuts the connections to the database."""
    if "database_away" not in request.fixturenames:
        yield msgspec.structs.replace(base_settings, database=url_of(postgres_name, postgres_socket))
        return
    proxy = PostgresProxy(tmp_path, postgres_socket)
    await proxy.open()
    request.node.proxy = proxy
    yield msgspec.structs.replace(base_settings, database=f"postgresql://postgres@/{postgres_name}?host={tmp_path}")
    await proxy.close()


@pytest.fixture(params=list(SETTINGS_FIXTURES))
def settings(request: pytest.FixtureRequest) -> Settings:
    """Return settings with SQLite and with PostgreSQL in turn."""
    chosen: Settings = request.getfixturevalue(SETTINGS_FIXTURES[request.param])
    return chosen


@pytest.fixture
async def archive(settings: Settings) -> AsyncIterator[Archive]:
    """Yield the archive of a new database, without an engine."""
    opened = await open_archive(settings)
    yield opened
    await opened.close()


@pytest.fixture
def database_away(request: pytest.FixtureRequest, settings: Settings) -> DatabaseAway:
    """Return a function for `async with`: while its block runs, the database is away: nothing can be written to it."""
    if settings.database is None:
        Path(settings.data).mkdir(exist_ok=True)
        return lambda: _lock_sqlite(Path(settings.data) / "callout.db")
    return lambda: _close_proxy(request.node.proxy)


@contextlib.asynccontextmanager
async def _lock_sqlite(path: Path) -> AsyncIterator[None]:
    """Lock the SQLite database against all other writers while the block runs."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    # Not in one call that blocks: an archiver may be writing, and needs this event loop to finish.
    await wait_until(lambda: _acquires_lock(connection), what="the lock")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def _acquires_lock(connection: sqlite3.Connection) -> bool:
    """Return whether the write lock was acquired."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


@contextlib.asynccontextmanager
async def _close_proxy(proxy: PostgresProxy) -> AsyncIterator[None]:
    """Close the proxy while the block runs."""
    await proxy.close()
    try:
        yield
    finally:
        await proxy.open()
