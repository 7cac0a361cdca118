"""The table of the parts of the zones' logs whose events were removed from SQL because of their age."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table

from engine.sql.columns import id_column, metadata

retirements = Table(
    "retirements",
    metadata,
    id_column("zone"),
    Column("first_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("announced_seq", BigInteger),
    Column("deleted_to", BigInteger, nullable=False),
)
"""``announced_seq`` is the seq of the event ``log.retired`` that names the part; NULL until that event is in the log.
Events up to ``deleted_to`` were deleted, except those that are never deleted (engine/archive/retention.py)."""
