"""The columns that the tables of the SQL database are made of, and the naming of their constraints."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def id_column(column: str = "id") -> Column[str]:
    """Return a text column that is part of the primary key."""
    return Column(column, Text, primary_key=True)


def text_column(column: str) -> Column[str]:
    """Return a text column that is never NULL."""
    return Column(column, Text, nullable=False)


def time_column(column: str, **options: Any) -> Column[int]:
    """Return a column for a time in ms since the Unix epoch."""
    return Column(column, BigInteger, nullable=False, **options)


def seq_column() -> Column[int]:
    """Return the column for an event's position in its zone's log: the last column of the primary key."""
    return Column("seq", BigInteger, primary_key=True, autoincrement=False)


def document_columns() -> tuple[Column[Any], ...]:
    """Return the last three columns of a projected object that changes: the times of its first and its last event, and
    the whole object as JSON.
    """
    return time_column("created_at"), time_column("updated_at"), text_column("doc")
