"""The handle on SQL: SQLite by default, PostgreSQL where many hosts share it.

A database that is away is an ordinary event here, not a failure to start: each use says ``Unavailable`` until it is
back, and the migrations run then. (Rejected: refusing to start. Claims need no SQL, so a server whose database is
late would keep people from working for nothing; the zones stay closed all the same until they can be compared.)

SQLite takes one writer at a time. Within a process writers queue on a lock, which is fair and costs nothing; between
processes ``BEGIN IMMEDIATE`` and the busy timeout do it. A deferred transaction that turns into a writer half-way
fails at once with SQLITE_BUSY, whatever the timeout, so that writers never begin as readers.
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
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from engine.errors import Indeterminate, Unavailable
from engine.process import datadir
from engine.process.settings import Settings, SettingsError
from engine.sql import migrate

BUSY_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5.0
POOL = 8
"""Connections for readers and writers together; each SQLite connection is a thread."""

_BEGIN = "callout_begin"
_ONE_STATE: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_BUGS = (IntegrityError, ProgrammingError, DataError)
_REFUSED_CLASSES = ("22", "54")
"""SQLSTATE classes of values that PostgreSQL does not take: data exceptions, and limits of a row or an index."""
_NO_WRITES = ("disk is full", "No space left", "could not extend file", "readonly database", "read-only transaction")
_AWAY = (OSError, TimeoutError, PoolExhausted, PostgresError, InterfaceError)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Archive:
    """One database. ``reading`` and ``writing`` are the only ways in."""

    url: URL
    engine: AsyncEngine
    problem: str = "not opened yet"
    """Why it cannot be used now; empty when the last attempt to prepare it went well."""
    refuses: str = ""
    """Why it took no writes at the last attempt, though it is there (its disk is full); else empty."""
    _writers: asyncio.Lock = field(default_factory=asyncio.Lock)
    _preparing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one state of the database throughout. Raises Unavailable."""
        await self.prepare()
        view = self.engine if self.is_sqlite else self.engine.execution_options(**_ONE_STATE)
        with _driver_errors_as_unavailable():
            async with view.connect() as conn:
                yield conn

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end of the block, rolled back by any exception.

        Raises Unavailable where nothing was done, Indeterminate where the commit's answer was lost.
        """
        await self.prepare()
        async with self._writers if self.is_sqlite else contextlib.nullcontext():
            with self._noted(), _driver_errors_as_unavailable():
                writers = self.engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
                async with writers.connect() as conn:
                    yield conn
                    await _commit(conn)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except (Unavailable, Indeterminate) as error:
            if error.__cause__ is not None and _refuses_writes(cause := _cause(error.__cause__)):
                self.refuses = cause
            raise
        self.refuses = ""

    async def prepare(self) -> None:
        """Bring the schema up to date, once in the life of this handle. Raises Unavailable; SettingsError where
        the database is of a newer Callout.
        """
        if not self.problem:
            return
        async with self._preparing:
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
        writers = self.engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        async with writers.begin() as conn:
            if not self.is_sqlite:
                await conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('callout.migrate'))"))
            await conn.run_sync(migrate.upgrade)

    async def check(self) -> list[str]:
        """What keeps the database from being used now, one sentence each; empty when all is well."""
        try:
            async with self.reading() as conn:
                await conn.execute(text("SELECT 1"))
        except (Unavailable, SettingsError) as error:
            return [f"database {shown(self.url)}: {error}"]
        return []

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


async def open_archive(settings: Settings) -> Archive:
    """The database of ``settings``, its schema up to date where it can be reached; close it with ``close``.

    Raises SettingsError for an address that cannot be one and for a database of a newer Callout. A database that is
    away raises nothing here: see ``Archive.problem``.
    """
    url = _url(settings)
    if settings.database is None:
        datadir.close_to_others(Path(settings.data), "callout.db*")
    archive = Archive(url, _engine(url))
    try:
        await archive.prepare()
    except Unavailable as error:
        log.error("database_away", database=shown(url), error=str(error))
    except SettingsError:
        await archive.close()
        raise
    return archive


def shown(url: URL) -> str:
    """The address without its password."""
    return url.render_as_string(hide_password=True)


_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


def _url(settings: Settings) -> URL:
    if settings.database is None:
        return URL.create(_DRIVERS["sqlite"], database=str(Path(settings.data) / "callout.db"))
    try:
        url = make_url(settings.database)
    except ArgumentError:
        raise SettingsError("database: not an address (postgresql://…, sqlite:///…)") from None
    driver = _DRIVERS.get(url.drivername.partition("+")[0])
    if driver is None:
        raise SettingsError(f"database: {url.drivername} is neither postgresql nor sqlite")
    if driver.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise SettingsError("database: SQLite needs a file, memory does not last")
    return url.set(drivername=driver)


def _engine(url: URL) -> AsyncEngine:
    pool: dict[str, Any] = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": CONNECT_TIMEOUT_S}
    if url.get_backend_name() != "sqlite":
        limits = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": 30.0}
        return create_async_engine(url, pool_pre_ping=True, connect_args=limits, **pool)
    _own_alone(Path(url.database or "").absolute())
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, **pool)
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _own_alone(path: Path) -> None:
    """Make the file where it is missing, for its owner alone: SQLite itself would let everybody read it. What it puts
    beside it (``-wal``, ``-shm``) gets the same mode.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # whatever it is, opening the database will tell
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN is deferred; ours is _begin_sqlite
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


async def _commit(conn: AsyncConnection) -> None:
    try:
        await conn.commit()
    except (*_AWAY, DBAPIError) as error:
        if isinstance(error, (IntegrityError, DataError)) or _refuses_writes(_cause(error)):
            raise  # an answer: it was not committed, and is undone
        raise Indeterminate("The database did not answer the commit") from error


@contextlib.contextmanager
def _driver_errors_as_unavailable() -> Iterator[None]:
    """Sort the errors of a driver. A bug is raised as it is; a value that the database refuses is a DataError on either
    database; every other error means that the database cannot be used now.
    """
    try:
        yield
    except _BUGS:
        raise
    except (*_AWAY, DBAPIError) as error:
        if isinstance(error, DBAPIError) and _refuses_value(error):
            raise DataError(error.statement, error.params, error.orig or error) from error
        raise Unavailable(_why(error)) from error


def _refuses_value(error: DBAPIError) -> bool:
    """Whether PostgreSQL, or its driver before it asked, refused a value: SQLAlchemy has no class of its own for it."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return state.startswith(_REFUSED_CLASSES) or isinstance(getattr(error.orig, "__cause__", None), InvalidInput)


def _why(error: Exception) -> str:
    cause = _cause(error)
    return f"The database {'refuses writes' if _refuses_writes(cause) else 'is away'}: {cause}"


def _cause(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause) or type(cause).__name__


def _refuses_writes(cause: str) -> bool:
    return any(words in cause for words in _NO_WRITES)
