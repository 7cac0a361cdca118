"""INSERT statements that may meet a row with the same key."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from sqlalchemy import Table

from engine.sql.database import Archive

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def insert_into(archive: Archive, table: Table) -> postgresql.Insert:
    """Return an INSERT of the database's dialect, with ``on_conflict_do_nothing`` and ``on_conflict_do_update``.

    The dialect is imported here, because a process needs one of the two, and PostgreSQL's takes 5 % of the CPU time of
    a start.
    """
    dialect = importlib.import_module(f"sqlalchemy.dialects.{archive.url.get_backend_name()}")
    return cast("postgresql.Insert", dialect.insert(table))  # SQLite's has the same two methods
