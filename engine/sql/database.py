"""The SQL database: SQLite by default, PostgreSQL if several hosts share it.

A database that cannot be reached does not prevent the start of the server. Each use raises ``Unavailable`` until the
database is back; then the migrations run. (Rejected: refusing to start. Claims need no SQL, so a server that waited for
its database would stop people's work without a reason. The zones stay closed in any case until Redis can be compared
with the database.)

SQLite allows one writer at a time. Within a process the writers queue on a lock, which is fair and costs nothing. The
writers of different processes wait for each other by ``BEGIN IMMEDIATE`` and the busy timeout. A deferred transaction
that begins as a reader and then writes fails at once with SQLITE_BUSY, even with a long timeout; therefore each
transaction that may write begins with ``BEGIN IMMEDIATE``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from asyncpg.exceptions import DataError as InvalidInput
from asyncpg.exceptions import InterfaceError, PostgresError
from sqlalchemy import event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from engine.errors import Indeterminate, Unavailable
from engine.process import datadir
from engine.process.settings import Settings, SettingsError
from engine.sql import migrate, postgres_connection
from engine.sql.address import database_url
from engine.sql.commit_settings import CommitSettings

BUSY_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5.0
POOL_SIZE = 8
"""The most connections, for readers and writers together. Each SQLite connection is a thread."""

_BEGIN_OPTION = "callout_begin"
_SNAPSHOT_OPTIONS: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_STATEMENT_ERRORS = (IntegrityError, ProgrammingError, DataError)
_REFUSED_SQLSTATE_CLASSES = ("22", "54")
"""SQLSTATE classes of refused values in PostgreSQL: data exceptions (22), and limits of a row or an index (54)."""
_NO_WRITE_TEXTS = (
    "disk is full",
    "No space left",
    "could not extend file",
    "readonly database",
    "read-only transaction",
)
_UNAVAILABLE_ERRORS = (OSError, TimeoutError, PoolExhausted, PostgresError, InterfaceError)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Archive:
    """A handle on one database. All queries use a connection from ``begin_read`` or ``begin_write``."""

    url: URL
    engine: AsyncEngine
    known_format: int  # the newest format of zones that this process knows (engine/zone/upgrade.py)
    problem: str = "not opened yet"
    """Why the database cannot be used now; "" after its schema was brought up to date."""
    write_refusal: str = ""
    """Why the database refused the last write although it can be reached (a full disk); "" if it accepted the write."""
    commit_settings: CommitSettings = field(default_factory=CommitSettings)
    _write_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _prepare_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite; otherwise it is PostgreSQL."""
        return self.url.get_backend_name() == "sqlite"

    @contextlib.asynccontextmanager
    async def begin_read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection for reads. All its queries read the same state of the database. Raises Unavailable."""
        await self.migrate_once()
        view = self.engine if self.is_sqlite else self.engine.execution_options(**_SNAPSHOT_OPTIONS)
        with _driver_errors_as_unavailable():
            async with view.connect() as conn:
                yield conn

    @contextlib.asynccontextmanager
    async def begin_write(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection with an open transaction. It is committed at the end of the block; any exception in the
        block rolls it back.

        Raises Unavailable if nothing was done, Indeterminate if the reply to the commit was lost.
        """
        await self.migrate_once()
        async with self._write_lock if self.is_sqlite else contextlib.nullcontext():
            with self._record_refusal(), _driver_errors_as_unavailable():
                writers = self.engine.execution_options(**{_BEGIN_OPTION: "BEGIN IMMEDIATE"})
                async with writers.connect() as conn:
                    yield conn
                    await _commit(conn)

    @property
    def writers(self) -> asyncio.Lock:
        """The lock of this process's writers to SQLite."""
        return self._write_lock

    @contextlib.contextmanager
    def _record_refusal(self) -> Iterator[None]:
        """Set ``write_refusal`` if the database refuses the write of the block; clear it if the write succeeds."""
        try:
            yield
        except (Unavailable, Indeterminate) as error:
            if error.__cause__ is not None and _refuses_writes(cause := _cause_text(error.__cause__)):
                self.write_refusal = cause
            raise
        self.write_refusal = ""

    async def migrate_once(self) -> None:
        """Bring the schema up to date, once for each handle. Raises Unavailable, and SettingsError if a newer Callout
        wrote the database.
        """
        if not self.problem:
            return
        async with self._prepare_lock:
            if not self.problem:
                return
            try:
                with _driver_errors_as_unavailable():
                    await self._migrate()
            except (Unavailable, SettingsError) as error:
                self.problem = str(error)
                raise
            self.problem = ""

    async def _migrate(self) -> None:
        writers = self.engine.execution_options(**{_BEGIN_OPTION: "BEGIN IMMEDIATE"})
        async with writers.begin() as conn:
            if not self.is_sqlite:
                await conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('callout.migrate'))"))
            await conn.run_sync(migrate.upgrade_schema)

    async def has_schema(self) -> bool:
        """Return whether the database has a schema; nothing is written. If the schema is up to date, later reads do not
        wait for the lock of SQLite's writers to migrate it. Raises Unavailable.
        """
        with _driver_errors_as_unavailable():
            async with self.engine.connect() as conn:
                revision = await conn.run_sync(migrate.current_revision)
        if revision == migrate.newest_revision():
            self.problem = ""
        return revision is not None

    async def check(self) -> list[str]:
        """Return the reasons why the database cannot be used now, one sentence each; an empty list if it can."""
        try:
            async with self.begin_read() as conn:
                await conn.execute(text("SELECT 1"))
        except (Unavailable, SettingsError) as error:
            return [f"database {hide_password(self.url)}: {error}"]
        return []

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def make_archive(settings: Settings) -> Archive:
    """Return a handle whose first use opens the database of ``settings``. Raises SettingsError for a wrong address."""
    url = database_url(settings)
    if settings.database is None:
        datadir.make_files_private(Path(settings.data), "callout.db*")
    archive = Archive(url, _create_engine(url), settings.format)
    archive.commit_settings.watch_connections(archive.engine, settings.durability)
    return archive


async def open_archive(settings: Settings) -> Archive:
    """Open the database of ``settings`` and bring its schema up to date if it can be reached; close it with ``close``.

    Raises SettingsError if the database cannot be used. If it cannot be reached, see ``Archive.problem``.
    """
    archive = make_archive(settings)
    try:
        await archive.migrate_once()
    except SettingsError:
        await archive.close()
        raise
    except Unavailable as error:
        log.error("database_away", database=hide_password(archive.url), error=str(error))
    return archive


def hide_password(url: URL) -> str:
    """Return the database's address without its password, for messages and logs."""
    return url.render_as_string(hide_password=True)


def _create_engine(url: URL) -> AsyncEngine:
    pool: dict[str, Any] = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": CONNECT_TIMEOUT_S}
    if url.get_backend_name() != "sqlite":
        url, options = postgres_connection.connection_options(url)
        limits = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": 30.0}
        return create_async_engine(url, pool_pre_ping=True, connect_args=limits | options, **pool)
    _create_private_file(Path(url.database or "").absolute())
    from engine.sql import sqlite_connection

    # Without an isolation level the driver sends no BEGIN of its own, which would be deferred; ours is _begin_sqlite.
    options = {"timeout": BUSY_TIMEOUT_MS / 1000, "isolation_level": None}
    engine = create_async_engine(url, connect_args={"async_creator_fn": sqlite_connection.connect, **options}, **pool)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _create_private_file(path: Path) -> None:
    """Create the database file if it is missing, readable only for its owner: SQLite itself would let everybody read
    it. SQLite gives its ``-wal`` and ``-shm`` files the same mode.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # opening the database will report the same error
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _begin_sqlite(connection: Any) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN_OPTION, "BEGIN"))


async def _commit(conn: AsyncConnection) -> None:
    try:
        await conn.commit()
    except (*_UNAVAILABLE_ERRORS, DBAPIError) as error:
        if isinstance(error, (IntegrityError, DataError)) or _refuses_writes(_cause_text(error)):
            # The database replied that it did not commit. SQLite leaves the transaction open after the violation of a
            # deferred constraint, so the connection is not used again.
            await conn.invalidate(error)
            raise
        raise Indeterminate("The database did not answer the commit") from error


@contextlib.contextmanager
def _driver_errors_as_unavailable() -> Iterator[None]:
    """Convert the errors of a driver. A bug is raised unchanged. If the database refuses a value, DataError is raised
    on either database. Every other error means that the database cannot be used now, and becomes Unavailable.
    """
    try:
        yield
    except _STATEMENT_ERRORS:
        raise
    except (*_UNAVAILABLE_ERRORS, DBAPIError) as error:
        if isinstance(error, DBAPIError) and _refuses_value(error):
            raise DataError(error.statement, error.params, error.orig or error) from error
        raise Unavailable(_unavailable_text(error)) from error


def _refuses_value(error: DBAPIError) -> bool:
    """Return whether PostgreSQL refused a value, or its driver did before the query was sent. SQLAlchemy has no class
    of its own for this error.
    """
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return state.startswith(_REFUSED_SQLSTATE_CLASSES) or isinstance(
        getattr(error.orig, "__cause__", None), InvalidInput
    )


def _unavailable_text(error: Exception) -> str:
    cause = _cause_text(error)
    return f"The database {'refuses writes' if _refuses_writes(cause) else 'is away'}: {cause}"


def _cause_text(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause) or type(cause).__name__


def _refuses_writes(cause: str) -> bool:
    return any(words in cause for words in _NO_WRITE_TEXTS)
