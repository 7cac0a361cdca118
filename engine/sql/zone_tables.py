"""The table by which operators and processes control a zone."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Table, Text

from engine.sql.columns import id_column, metadata

zone_controls = Table(
    "zone_controls",
    metadata,
    id_column("zone"),
    Column("paused", Boolean, nullable=False),
    Column("holder", Text),
    Column("expires_at", BigInteger),
)
"""A zone is ``paused`` while an operator has closed it. ``holder`` is the process that rebuilds the zone from SQL. Its
lock ends at ``expires_at`` if the process dies."""
