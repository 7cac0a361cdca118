"""A pool of PostgreSQL databases that have the schema. One test after another uses them, because a new database takes a
fifth of a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg

TEMPLATE = "migrated"
SCHEMA_QUERY = """
SELECT md5(string_agg(object, ' ' ORDER BY object)) FROM (
    SELECT concat_ws(' ', oid, relname, relfilenode, relkind) AS object FROM pg_class WHERE oid >= 16384
    UNION ALL SELECT a::text FROM pg_attribute a WHERE attrelid >= 16384
    UNION ALL SELECT c::text FROM pg_constraint c WHERE oid >= 16384
    UNION ALL SELECT p::text FROM pg_proc p WHERE oid >= 16384
    UNION ALL SELECT t::text FROM pg_trigger t
    UNION ALL SELECT s::text FROM pg_db_role_setting s
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
) AS objects
"""
"""Computes a hash of everything that a statement of the schema can change."""
TABLES_QUERY = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
END_OTHER_CONNECTIONS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
RESTART_SEQUENCES = "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"


class PooledDatabase:
    """A database, a connection to it, and what it contained when it was new."""

    name: str
    _connection: asyncpg.Connection[Any]
    _schema: str
    _rows: dict[str, list[asyncpg.Record]]

    @classmethod
    async def create(cls, socket: Path, name: str) -> PooledDatabase:
        """Create a database from the template."""
        new = cls()
        new.name = name
        admin = await asyncpg.connect(host=str(socket), user="postgres", database="postgres")
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        await admin.close()
        new._connection = await asyncpg.connect(host=str(socket), user="postgres", database=name)
        new._schema = await new._connection.fetchval(SCHEMA_QUERY)
        tables = [row["tablename"] for row in await new._connection.fetch(TABLES_QUERY)]
        new._rows = {table: await new._connection.fetch(f'SELECT * FROM "{table}"') for table in tables}
        return new

    async def restore(self) -> bool:
        """End all other connections and make the database as it was when it was new. Return false if its schema has
        changed: then it cannot be used again, and is closed.
        """
        await self._connection.execute(END_OTHER_CONNECTIONS)
        if await self._connection.fetchval(SCHEMA_QUERY) != self._schema:
            await self.close()
            return False
        deletions = ";".join(f'DELETE FROM "{table}"' for table in self._rows)
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL session_replication_role = replica; {deletions}")
            await self._connection.execute(RESTART_SEQUENCES)
            for table, rows in self._rows.items():
                if rows:
                    await self._connection.copy_records_to_table(table, records=rows)
        return True

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
