"""Queries for the rows of many ids. All ids are one parameter, because SQLAlchemy would spend 2 µs on each id."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection


async def read_among(conn: AsyncConnection, query: str, ids: Collection[str], order: str = "") -> Sequence[Any]:
    """Return the rows of ``query``, SQL that ends with ``WHERE <column>`` or ``AND <column>``, in which that column is
    one of ``ids``. ``order`` is the statement's ORDER BY or GROUP BY, if it has one.
    """
    if conn.dialect.name == "postgresql":
        return (await conn.exec_driver_sql(f"{query} = ANY($1::text[]) {order}", (list(ids),))).all()
    values = msgspec.json.encode(list(ids)).decode()
    return (await conn.exec_driver_sql(f"{query} IN (SELECT value FROM json_each(?)) {order}", (values,))).all()
