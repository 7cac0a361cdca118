"""The table of the travel times that zones have learnt."""

from __future__ import annotations

from sqlalchemy import Table

from engine.sql.columns import id_column, metadata, text_column, time_column

travel_times = Table(
    "travel_times",
    metadata,
    id_column("zone"),
    time_column("due_at"),
    text_column("times"),
    text_column("quality"),
)
"""``times`` is a ``ZoneTimes`` of engine/rules/travel.py as JSON, ``quality`` a ``ZoneQuality`` of
engine/rules/travel_quality.py. ``due_at`` is when the zone learns again: the process that increases it learns."""
