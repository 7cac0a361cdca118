"""INSERT statements for many rows, and for rows that may meet a row with the same key."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

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


_Compiled = tuple[str, Callable[[dict[str, Any]], Any]]
_compiled_statements: dict[tuple[str, str, tuple[str, ...]], _Compiled] = {}


async def execute_for_rows(
    conn: AsyncConnection, name: str, rows: Sequence[dict[str, Any]], build: Callable[[], Any]
) -> None:
    """Execute the statement of ``build`` once for each row, which has the values of its parameters. All rows have the
    same columns. ``name`` identifies the statement in this process.

    The statement is compiled once in a process, and the rows go to the driver unchanged: SQLAlchemy's work for each
    statement and each row costs more than the driver's, and blocks all other tasks of this process. Texts, integers and
    booleans need no conversion on either database.
    """
    if not rows:
        return
    columns = tuple(rows[0])
    known = conn.dialect.name, name, columns
    if known not in _compiled_statements:
        compiled = build().compile(dialect=conn.dialect, column_keys=list(columns))
        names = compiled.positiontup
        values = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        _compiled_statements[known] = str(compiled), values
    statement, values = _compiled_statements[known]
    await conn.exec_driver_sql(statement, [values(row) for row in rows])
