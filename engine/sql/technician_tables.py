"""Tables of technicians besides their profiles: their state, computed from events, and their working hours."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Table

from engine.sql.columns import id_column, metadata, text_column, time_column

technician_states = Table(
    "technician_states",
    metadata,
    id_column("technician"),
    id_column("zone"),
    Column("online", Boolean, nullable=False),
    text_column("works"),
    Column("accepted", BigInteger, nullable=False),
    Column("asked", BigInteger, nullable=False),
    Column("free_at", BigInteger, nullable=False),
)
"""The state of technicians in a zone, as of its checkpoint. ``works`` is the open work that they receive
(lua/lib/work_feed.lua), ``accepted`` the number of jobs that they got, ``asked`` of offers that opened for them, and
``free_at`` (ms) the last time at which they came online, got a job or became free; 0 if there was none."""

technician_hours = Table(
    "technician_hours",
    metadata,
    id_column("technician"),
    time_column("changed_at"),
    text_column("doc"),
)
"""The working hours of technicians, as JSON (engine/rules/working_hours.py). A technician without a row works at any
time."""
