"""INSERT statements for many rows, and for rows that may meet a row with the same key."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
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
    if rows:
        await _insert_many(conn, upsert(table).on_conflict_do_nothing() if upsert else insert(table), rows)


async def upsert_rows(
    conn: AsyncConnection,
    upsert: Upsert,
    table: Table,
    rows: list[dict[str, Any]],
    *,
    unchanged_columns: Collection[str] = (),
) -> None:
    """Insert rows, or replace the row with the same key. A replaced row keeps its ``unchanged_columns``."""
    if not rows:
        return
    new = upsert(table)
    others = [
        column.name for column in table.columns if not column.primary_key and column.name not in unchanged_columns
    ]
    rest = {name: new.excluded[name] for name in others}
    keys = [column.name for column in table.primary_key.columns]
    await _insert_many(conn, new.on_conflict_do_update(index_elements=keys, set_=rest), rows)


async def _insert_many(conn: AsyncConnection, statement: Any, rows: list[dict[str, Any]]) -> None:
    """Run an insert for many rows that all have the same columns.

    The statement is compiled once and the rows go to the driver unchanged: SQLAlchemy's work for each row costs more
    than the driver's, and blocks all other tasks of this process. Texts, integers and booleans need no conversion on
    either database.
    """
    compiled = statement.compile(dialect=conn.dialect, column_keys=list(rows[0]))
    values = itemgetter(*compiled.positiontup)
    await conn.exec_driver_sql(str(compiled), [values(row) for row in rows])
