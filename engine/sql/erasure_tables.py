"""The table of the erasures of persons."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Table, Text

from engine.sql.columns import id_column, metadata, text_column, time_column

erasures = Table(
    "erasures",
    metadata,
    id_column(),
    text_column("user"),
    text_column("actor"),
    Column("reason", Text),
    text_column("state"),
    time_column("requested_at"),
    Column("done_at", BigInteger),
    Column("known", Text),
    Column("restored", Boolean, nullable=False),
    Column("holder", Text),
    Column("expires_at", BigInteger),
    Index(None, "user", unique=True),
)
"""The erasures: ``state`` is ``waiting``, ``running`` or ``done``. ``known`` has, while an erasure runs, the texts by
which the person is recognized in the texts of others, as a JSON list; ``reason`` and ``known`` are NULL when it is
done. ``restored``: SQL was erased from the list of erasures (engine/archive/erasure_list.py), and the log does not say
so yet. ``holder`` is the process that works on the erasure, until ``expires_at`` (ms)."""
