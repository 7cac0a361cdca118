"""The migrated schema of SQLite as statements. Forked processes run the statements on an empty database, which takes a
tenth of the time of the migrations. PostgreSQL, and a database that has a schema, are migrated as usual.
"""

from __future__ import annotations

import sqlite3
import tempfile
import uuid
from contextlib import closing

from sqlalchemy import Connection

from engine.process.settings import Settings
from engine.sql import migrate
from tests.support.migrated import migrate as migrate_database
from tests.support.migrated import run_in_thread


def copy_schema_instead_of_migrations() -> None:
    """Let this process and the processes that it forks create the schema of an empty SQLite database by these
    statements.
    """
    statements, upgrade = _dump_schema(), migrate.upgrade_schema

    def upgrade_schema(connection: Connection) -> None:
        if connection.dialect.name == "sqlite" and migrate.current_revision(connection) is None:
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql("UPDATE deployment SET id = ?", (uuid.uuid4().hex,))
        upgrade(connection)

    migrate.upgrade_schema = upgrade_schema


def _dump_schema() -> list[str]:
    with tempfile.TemporaryDirectory(prefix="callout-schema-") as folder:
        run_in_thread(migrate_database(Settings(data=folder)))
        with closing(sqlite3.connect(f"{folder}/callout.db")) as database:
            return [line for line in database.iterdump() if line not in ("BEGIN TRANSACTION;", "COMMIT;")]
