"""Statements that read many rows of parameters as a table, for what an INSERT of values alone cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.sql.insert import SQLITE_ROWS


class RowStatement:
    """A statement that reads rows from the table ``n``, which has ``columns``: each name with its type in PostgreSQL.
    ``text`` is the same on both databases.
    """

    def __init__(self, text: str, columns: Mapping[str, str]) -> None:
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), 1))
        self._head = f"WITH n ({', '.join(columns)}) AS "
        self._text, self._row = text, f"({', '.join('?' * len(columns))})"
        self._postgresql = f"{self._head}(SELECT * FROM unnest({arrays})) {text}"

    async def run(self, conn: AsyncConnection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run the statement for rows, each with the values of the columns: on PostgreSQL for all at once."""
        if not rows:
            return
        if conn.dialect.name == "postgresql":
            await conn.exec_driver_sql(self._postgresql, tuple(map(list, zip(*rows, strict=True))))
            return
        whole = len(rows) - len(rows) % SQLITE_ROWS
        parts = [tuple(chain.from_iterable(rows[at : at + SQLITE_ROWS])) for at in range(0, whole, SQLITE_ROWS)]
        for count, values in ((SQLITE_ROWS, parts), (1, list(rows[whole:]))):
            if values:
                await conn.exec_driver_sql(self._for_sqlite(count), values)

    def _for_sqlite(self, count: int) -> str:
        return f"{self._head}(VALUES {', '.join([self._row] * count)}) {self._text}"
