"""Connections to PostgreSQL, and the order of its texts.

Callout keeps no state in a PostgreSQL session, so a pooler that gives each transaction another connection (PgBouncer,
``pool_mode=transaction``) may be between them. Prepared statements are state: ``statement_cache_size=0`` in the
database's address leaves them out.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from engine.process.settings import SettingsError

STATEMENT_CACHE_OPTION = "statement_cache_size"
DEFAULT_CACHE_SIZE = 100
_SELECT_OTHER_COLLATIONS = """
SELECT c.relname, string_agg(format('ALTER COLUMN %I TYPE text COLLATE "C"', a.attname), ', ' ORDER BY a.attnum)
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_collation o ON o.oid = a.attcollation
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
    AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'text'::regtype AND o.collname <> 'C'
GROUP BY c.relname ORDER BY c.relname
"""


def connection_options(url: URL) -> tuple[URL, dict[str, Any]]:
    """Return the address for SQLAlchemy and the driver's options. Raises SettingsError if the size of the statement
    cache is no number.
    """
    size = str(url.query.get(STATEMENT_CACHE_OPTION, DEFAULT_CACHE_SIZE))
    if not size.isdecimal():
        raise SettingsError(f"database: {STATEMENT_CACHE_OPTION} must be a number, 0 for a pooler by transaction")
    sizes: dict[str, Any] = {STATEMENT_CACHE_OPTION: int(size), f"prepared_{STATEMENT_CACHE_OPTION}": int(size)}
    if sizes[STATEMENT_CACHE_OPTION] == 0:
        sizes["prepared_statement_name_func"] = str  # the statement without a name, which the next one replaces
    return url.difference_update_query([STATEMENT_CACHE_OPTION]), sizes


def order_by_bytes(connection: Connection) -> None:
    """Let the database compare all texts by their bytes, as SQLite and Python do. A page of a list that is merged from
    SQL and Redis would otherwise skip rows in a database with the order of a language. Nothing is sorted for readers.
    """
    for table, changes in connection.execute(text(_SELECT_OTHER_COLLATIONS)).all():
        connection.execute(text(f'ALTER TABLE "{table}" {changes}'))
