"""Connections to SQLite that need the thread of the connection once for each statement.

Each connection has a thread of its own (aiosqlite). SQLAlchemy asks this thread four times for a statement: for a
cursor, the execution, the rows and the end of the cursor. Each time the thread wakes up and then the event loop, which
takes longer than most of Callout's statements: opening an engine asked 87 times. Here a cursor does everything in one
request, and a connection is opened and set up in one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Self

import aiosqlite

FIRST_SETTING = "PRAGMA auto_vacuum=INCREMENTAL"
"""The setting of a database without pages. In any other it changes nothing, but would wait for the lock of writers."""
SETTINGS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
)


_adapt_none: Any = {}.get  # returns None for None
sqlite3.register_adapter(bool, int)
sqlite3.register_adapter(type(None), _adapt_none)
"""Without these the driver looks for an adapter of each such value, and makes an exception when it finds none: 2 % of
the archiver's instructions."""

VACUUM_PAGES = 2_000
"""The most pages that one call gives back."""


class Connection(aiosqlite.Connection):
    """A connection whose cursors need its thread once for each statement."""

    def cursor(self) -> StatementCursor:  # type: ignore[override]
        """Return a cursor for one statement."""
        return StatementCursor(self)

    async def run_statement(self, method: Callable[..., Any], sql: str, parameters: Iterable[Any]) -> FinishedStatement:
        """Call ``method``, one of a cursor's, with a statement in the thread of this connection."""
        done: FinishedStatement = await self._execute(  # type: ignore[no-untyped-call]
            _run_statement, self._conn, method, sql, parameters
        )
        return done


class FinishedStatement:
    """The result of a statement that SQLite has executed: all rows, and what the cursor says about the statement."""

    __slots__ = ("description", "lastrowid", "rowcount", "rows")

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.rows = cursor.fetchall() if cursor.description else []
        self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid


class StatementCursor:
    """A cursor with what SQLAlchemy uses of one. A query cannot stream its rows."""

    arraysize = 1
    description: Any = None
    rowcount = -1
    lastrowid: int | None = None

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: list[Any] = []

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> None:
        """Execute a statement and fetch its rows."""
        self._store(await self._connection.run_statement(sqlite3.Cursor.execute, sql, parameters))

    async def executemany(self, sql: str, parameters: Iterable[Any]) -> None:
        """Execute a statement once for each of the parameters."""
        self._store(await self._connection.run_statement(sqlite3.Cursor.executemany, sql, parameters))

    async def fetchall(self) -> list[Any]:
        """Return the rows of the statement."""
        return self._rows

    async def close(self) -> None:
        """Do nothing: the cursor of SQLite was closed with its statement."""

    def _store(self, done: FinishedStatement) -> None:
        self._rows, self.description = done.rows, done.description
        self.rowcount, self.lastrowid = done.rowcount, done.lastrowid


def connect(path: str, **options: Any) -> Connection:
    """Return a connection to the database at ``path``, which is opened when it is awaited. ``options`` are those of
    ``sqlite3.connect``.
    """
    connection = Connection(lambda: _open(path, options), iter_chunk_size=64)
    connection._thread.daemon = True  # as SQLAlchemy has it: a process ends although a connection is open
    return connection


def _open(path: str, options: dict[str, Any]) -> sqlite3.Connection:
    opened: sqlite3.Connection = sqlite3.connect(path, **options)
    try:
        if opened.execute("PRAGMA page_count").fetchone() == (0,):
            opened.execute(FIRST_SETTING)
        for setting in SETTINGS:
            opened.execute(setting)
        opened.create_function("lower", 1, _lower, deterministic=True)
    except BaseException:
        opened.close()
        raise
    return opened


def _lower(value: Any) -> str | None:
    """Do what `lower` of PostgreSQL does. SQLite's own knows the letters of ASCII alone, so that a search for "özil"
    would not find "Özil".
    """
    return None if value is None else str(value).lower()


def _run_statement(
    connection: sqlite3.Connection, method: Callable[..., Any], sql: str, parameters: Iterable[Any]
) -> FinishedStatement:
    with contextlib.closing(connection.cursor()) as cursor:
        method(cursor, sql, parameters)
        return FinishedStatement(cursor)


async def release_pages(archive: Any) -> None:
    """Give a part of the unused pages of an Archive back to the file system. A database that was created before this
    release keeps them for new rows.
    """
    async with archive.begin_write() as conn:
        raw = (await conn.get_raw_connection()).driver_connection
        assert raw
        await raw.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")


@contextlib.asynccontextmanager
async def begin_read_of_any_text(archive: Any) -> AsyncIterator[Any]:
    """Yield a connection as ``Archive.begin_read`` does. In a text of SQLite that is not UTF-8, each wrong byte is read
    as a lone surrogate; otherwise it is an error of the whole query, which does not name the row.
    """
    async with archive.begin_read() as conn:
        if not archive.is_sqlite:
            yield conn
            return
        raw = (await conn.get_raw_connection()).driver_connection
        raw.text_factory = _read_any_text
        try:
            yield conn
        finally:
            raw.text_factory = str


def _read_any_text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")
