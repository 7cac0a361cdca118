"""Migrations of the SQL database. They are part of the package and run when the process first reaches the database.

Importing Alembic takes about 0.3 s, and most starts have nothing to migrate. The head revision is therefore read from
the names of the migration files (``NNNN_subject.py``), and Alembic is imported only when there is work. (Rejected: the
head as a constant in the code. It would have to be raised by hand with each migration.)
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from engine.process.settings import SettingsError
from engine.sql.postgres_connection import order_by_bytes

MIGRATIONS_FOLDER = Path(__file__).with_name("migrations")


def upgrade_schema(connection: Connection) -> None:
    """Run the migrations that this database lacks, inside the transaction of ``connection``.

    Raises SettingsError if a newer Callout wrote the database.
    """
    if current_revision(connection) == newest_revision():
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SettingsError(f"the database is of another Callout than this one: {error}") from error
    if connection.dialect.name == "postgresql":
        order_by_bytes(connection)


def newest_revision() -> str:
    """Return the newest revision: the number at the start of the last file name."""
    return max(path.name for path in (MIGRATIONS_FOLDER / "versions").glob("[0-9]*_*.py")).partition("_")[0]


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the database's schema; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
