"""INSERT statements for many rows, and for rows that may meet a row with the same key."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import Table, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.sql.database import Archive

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Upsert = Callable[[Table], Any]
"""The type of ``insert_into`` for one database."""


def insert_into(archive: Archive, table: Table) -> postgresql.Insert:
    """Return an INSERT of the database's dialect, with ``on_conflict_do_nothing`` and ``on_conflict_do_update``.

    The dialect is imported here, because a process needs one of the two, and PostgreSQL's takes 5 % of the CPU time of
    a start.
    """
    dialect = importlib.import_module(f"sqlalchemy.dialects.{archive.url.get_backend_name()}")
    return cast("postgresql.Insert", dialect.insert(table))  # SQLite's has the same two methods


async def insert_rows(
    conn: AsyncConnection, table: Table, rows: list[dict[str, Any]], upsert: Upsert | None = None
) -> None:
    """Insert rows. With ``upsert``, existing rows stay unchanged."""
    if upsert:
        await execute_for_rows(conn, f"insert new {table.name}", rows, lambda: upsert(table).on_conflict_do_nothing())
    else:
        await execute_for_rows(conn, f"insert {table.name}", rows, lambda: insert(table))


async def upsert_rows(
    conn: AsyncConnection,
    upsert: Upsert,
    table: Table,
    rows: list[dict[str, Any]],
    *,
    unchanged_columns: Collection[str] = (),
) -> None:
    """Insert rows, or replace the row with the same key. A replaced row keeps its ``unchanged_columns``."""

    def build() -> Any:
        new = upsert(table)
        others = [
            column.name for column in table.columns if not column.primary_key and column.name not in unchanged_columns
        ]
        rest = {name: new.excluded[name] for name in others}
        keys = [column.name for column in table.primary_key.columns]
        return new.on_conflict_do_update(index_elements=keys, set_=rest)

    await execute_for_rows(conn, f"upsert {table.name} but {unchanged_columns}", rows, build)


SQLITE_ROWS = 64
"""How many rows one statement of SQLite inserts: its parameters are cheaper to bind in one call, and other tasks of the
process run meanwhile. More save nothing further."""
_PARAMETER_PATTERN = r"(?:\?|\$\d+::\w+)"
_VALUES_CLAUSE = re.compile(rf" VALUES (\({_PARAMETER_PATTERN}(?:, {_PARAMETER_PATTERN})*\))([^?$]*)")


class _Compiled(NamedTuple):
    """A statement for one row, and one for many if it can be written so. ``values`` returns the parameters of a
    row."""

    one: str
    many: str
    values: Callable[[dict[str, Any]], tuple[Any, ...]]


_compiled_statements: dict[tuple[str, str, tuple[str, ...]], _Compiled] = {}


async def execute_for_rows(
    conn: AsyncConnection, name: str, rows: Sequence[dict[str, Any]], build: Callable[[], Any]
) -> None:
    """Execute the statement of ``build`` once for each row, which has the values of its parameters. All rows have the
    same columns. ``name`` identifies the statement in this process.

    The statement is compiled once in a process, and the rows go to the driver unchanged: SQLAlchemy's work for each
    statement and each row costs more than the driver's, and blocks all other tasks of this process. Texts, integers and
    booleans need no conversion on either database. An INSERT of parameters alone is one statement for many rows: on
    PostgreSQL of all, as one array for each column.
    """
    if rows:
        statement = _compile(conn.dialect, name, tuple(rows[0]), build)
        await _execute(conn, statement, list(map(statement.values, rows)))


async def insert_tuples(
    conn: AsyncConnection, table: Table, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows that are the values of ``columns``, which are in the order of the table."""
    if rows:
        await _execute(conn, _compile(conn.dialect, f"insert {table.name}", columns, lambda: insert(table)), rows)


async def _execute(conn: AsyncConnection, statement: _Compiled, rows: Sequence[tuple[Any, ...]]) -> None:
    if not statement.many:
        await conn.exec_driver_sql(statement.one, list(rows))
    elif conn.dialect.name == "postgresql":
        await conn.exec_driver_sql(statement.many, tuple(map(list, zip(*rows, strict=True))))
    else:
        whole = len(rows) - len(rows) % SQLITE_ROWS
        parts = [tuple(chain.from_iterable(rows[at : at + SQLITE_ROWS])) for at in range(0, whole, SQLITE_ROWS)]
        if parts:
            await conn.exec_driver_sql(statement.many, parts)
        if rest := list(rows[whole:]):
            await conn.exec_driver_sql(statement.one, rest)


def _compile(dialect: Any, name: str, columns: tuple[str, ...], build: Callable[[], Any]) -> _Compiled:
    """Return the statement of ``build``, which is compiled at its first use with a database and these columns."""
    known = dialect.name, name, columns
    if known not in _compiled_statements:
        compiled = build().compile(dialect=dialect, column_keys=list(columns))
        names, text = compiled.positiontup, str(compiled)
        values = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        _compiled_statements[known] = _Compiled(text, _for_many_rows(text, dialect.name), values)
    return _compiled_statements[known]


def _for_many_rows(statement: str, dialect: str) -> str:
    """Return the INSERT ``statement`` for many rows; "" if its only parameters are not the values of a row."""
    head, *rest = statement.partition(" VALUES ")
    found = _VALUES_CLAUSE.fullmatch("".join(rest))
    if not found:
        return ""
    row, conflict = found.groups()
    if dialect == "postgresql":
        arrays = re.sub(r"(::\w+)", r"\1[]", row)
        return f"{head} SELECT * FROM unnest{arrays}{conflict}"
    return f"{head} VALUES {', '.join([row] * SQLITE_ROWS)}{conflict}"
