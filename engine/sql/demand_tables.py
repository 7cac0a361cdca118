"""The tables of demand: what was requested where and when, and what was learnt from it. No row is about a person: they
have numbers of areas.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from engine.sql.columns import id_column, metadata, text_column


def _count_column(column: str) -> Column[int]:
    return Column(column, Integer, nullable=False)


demand_hours = Table(
    "demand_hours",
    metadata,
    id_column("zone"),
    id_column("kind"),
    id_column("area"),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    _count_column("booked"),
    _count_column("quoted"),
    _count_column("filled"),
    _count_column("expired"),
    Index(None, "zone", "kind", "hour"),
    sqlite_with_rowid=False,
)
"""The counts of an hour (hours since the Unix epoch) in an area: bookings, quotes that were not booked, acceptances,
and jobs that expired. ``kind`` is one of ``COUNT_KINDS`` in engine/archive/demand_projection.py. Only the archiver
writes it, in the transaction of the events."""

demand_progress = Table(
    "demand_progress",
    metadata,
    id_column("zone"),
    Column("seq", BigInteger, nullable=False),
)
"""Up to which event of a zone's log ``demand_hours`` counts."""

demand_models = Table(
    "demand_models",
    metadata,
    id_column("zone"),
    id_column("kind"),
    id_column("area"),
    Column("hour", BigInteger, nullable=False),
    text_column("state"),
)
"""What the forecast has learnt up to the end of ``hour``: JSON of numbers for each area, and for the whole zone where
``area`` is empty. It is a cache: the same follows from ``demand_hours``, while none of its hours is deleted."""
