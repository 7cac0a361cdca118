"""The script that Alembic runs. ``engine/sql/migrate.py`` passes it a connection with an open transaction."""

from __future__ import annotations

from alembic import context

from engine.sql.columns import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
