"""Queries for the rows of many ids. All ids are one parameter, because SQLAlchemy would spend 2 µs on each id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection


async def read_among(conn: AsyncConnection, query: str, ids: Sequence[str]) -> Sequence[Any]:
    """Return the rows of ``query``, SQL that ends with ``WHERE <column>``, in which that column is one of ``ids``."""
    if conn.dialect.name == "postgresql":
        return (await conn.exec_driver_sql(f"{query} = ANY($1::text[])", (list(ids),))).all()
    values = msgspec.json.encode(ids).decode()
    return (await conn.exec_driver_sql(f"{query} IN (SELECT value FROM json_each(?))", (values,))).all()
