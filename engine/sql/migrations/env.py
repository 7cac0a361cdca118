"""Alembic's entry: the caller hands over a connection with its transaction open (engine/sql/migrate.py)."""

from __future__ import annotations

from alembic import context

from engine.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
