"""Tests of the connection to SQL: what it refuses, that the schema is that of this release, and that an absent
database is awaited.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from engine.errors import Unavailable
from engine.process.settings import Settings, SettingsError
from engine.sql import migrate
from engine.sql.columns import metadata
from engine.sql.database import Archive, hide_password, open_archive
from engine.sql.schema import checkpoints, services, sessions
from tests.archive.conftest import DatabaseAway


@pytest.fixture
def has_schema() -> bool:
    """Return false: each test here migrates its own database."""
    return False


@pytest.mark.parametrize(
    "address",
    ["mysql://host/db", "nonsense", "sqlite://", "sqlite:///:memory:"],
    ids=["kind", "no-url", "memory", "mem"],
)
async def test_refuses_an_unusable_database_address(tmp_path: Path, address: str) -> None:
    """A database address of another kind, or of a database in memory, is refused as a wrong setting."""
    with pytest.raises(SettingsError, match="database"):
        await open_archive(Settings(data=str(tmp_path), database=address))


async def test_refuses_a_database_of_a_newer_callout(archive: Archive, settings: Settings) -> None:
    """A database with the schema of a newer Callout is refused at the start and not changed."""
    async with archive.begin_write() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match="another Callout"):
        await open_archive(settings)


async def test_refuses_a_row_without_its_parent(archive: Archive) -> None:
    """Foreign keys are enforced, also on SQLite: a login (`sessions`) of an unknown user is refused."""
    row = {"id": "s", "user": "nobody", "salt": b"", "generation": 1, "rotated_at": 0, "expires_at": 0}
    with pytest.raises(IntegrityError):
        async with archive.begin_write() as conn:
            await conn.execute(insert(sessions).values(**row))


async def test_migrations_make_exactly_the_schema(archive: Archive) -> None:
    """The migrations create exactly the tables that schema.py declares."""

    def schema_differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [d for d in compare_metadata(context, metadata) if "alembic_version" not in str(d)]

    async with archive.begin_write() as conn:
        assert await conn.run_sync(schema_differences) == []


def test_the_newest_migration_file_is_the_head() -> None:
    """The file name of each migration begins with its revision, and the last file by name is Alembic's head."""
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS_FOLDER))
    scripts = ScriptDirectory.from_config(config)
    names = {Path(script.path).name: script.revision for script in scripts.walk_revisions()}
    assert all(name.startswith(f"{revision}_") for name, revision in names.items())
    assert scripts.get_heads() == [migrate.newest_revision()]


async def test_alembic_is_imported_only_to_migrate(
    archive: Archive, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database at the newest revision opens without Alembic, whose import would add 0.3 s to each start."""
    assert await archive.check() == []
    monkeypatch.setitem(sys.modules, "alembic", None)
    again = await open_archive(settings)
    assert again.problem == ""
    await again.close()


async def test_sqlite_connections_are_durable(tmp_path: Path) -> None:
    """Every SQLite connection uses the write-ahead log, full synchronisation and foreign keys."""
    archive = await open_archive(Settings(data=str(tmp_path / "new" / "folder")))
    async with archive.begin_read() as one, archive.begin_read() as two:
        for conn in (one, two):
            names = ("journal_mode", "synchronous", "foreign_keys")
            pragmas = [(await conn.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in names]
            assert pragmas == ["wal", 2, 1]
    await archive.close()


async def test_an_exception_rolls_everything_back(archive: Archive) -> None:
    """A transaction that an exception ends writes nothing."""

    async def write_then_raise() -> None:
        async with archive.begin_write() as conn:
            await conn.execute(insert(checkpoints).values(zone="main", epoch="e1", seq=1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_then_raise()
    assert await _count_checkpoints(archive) == 0


async def test_many_writers_at_once_all_write(archive: Archive) -> None:
    """Forty concurrent writers wait for each other and all succeed; none gets a "database is locked" error."""

    async def insert_checkpoint(number: int) -> None:
        async with archive.begin_write() as conn:
            await conn.execute(insert(checkpoints).values(zone=f"z{number}", epoch="e1", seq=1))

    await asyncio.gather(*(insert_checkpoint(n) for n in range(40)))
    assert await _count_checkpoints(archive) == 40


async def test_two_open_at_once_and_migrate_once(settings: Settings) -> None:
    """Two processes that open an empty database at the same time migrate it once, and both succeed."""
    first, second = await asyncio.gather(open_archive(settings), open_archive(settings))
    assert [await first.check(), await second.check()] == [[], []]
    await first.close()
    await second.close()


async def test_writes_are_unavailable_while_the_database_is_away(archive: Archive, database_away: DatabaseAway) -> None:
    """While the database is away a write raises `Unavailable`; after its return the same connection object writes."""
    async with database_away():
        with pytest.raises(Unavailable, match="database is away"):
            await _insert_checkpoint(archive)
    await _insert_checkpoint(archive)
    assert await _count_checkpoints(archive) == 1


async def test_starts_without_its_database_and_migrates_when_it_is_there(
    settings: Settings, database_away: DatabaseAway
) -> None:
    """A server starts while its database is away, and migrates the database at the first access after its return."""
    async with database_away():
        archive = await open_archive(settings)
        assert archive.problem
        assert len(await archive.check()) == 1
    assert await archive.check() == []
    await _insert_checkpoint(archive)
    await archive.close()


def test_a_password_is_never_shown() -> None:
    """`hide_password` removes the password from the database address that logs and `callout doctor` print."""
    from sqlalchemy.engine import make_url

    assert "secret" not in hide_password(make_url("postgresql://me:secret@host/db"))


async def test_a_sqlite_url_names_the_file(tmp_path: Path) -> None:
    """`sqlite:///path` creates the database at that path."""
    archive = await open_archive(Settings(data=str(tmp_path), database=f"sqlite:///{tmp_path}/else.db"))
    await archive.close()
    assert (tmp_path / "else.db").exists()
    assert msgspec.structs.asdict(Settings())["database"] is None


async def _insert_checkpoint(archive: Archive) -> None:
    """Insert one checkpoint."""
    async with archive.begin_write() as conn:
        await conn.execute(insert(checkpoints).values(zone="main", epoch="e1", seq=1))


async def _count_checkpoints(archive: Archive) -> int:
    """Return the number of checkpoints."""
    async with archive.begin_read() as conn:
        return (await conn.execute(select(func.count()).select_from(checkpoints))).scalar() or 0


async def test_a_commit_that_a_full_disk_refuses_did_nothing(tmp_path: Path) -> None:
    """A commit that fails because the disk is full raises `Unavailable` and is rolled back. The database has answered,
    so the outcome is known and not `indeterminate`.
    """
    opened = await open_archive(Settings(data=str(tmp_path)))

    def limit_pages(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # SQLite raises this to the number of pages that exist
        connection.exec_driver_sql("CREATE TABLE more AS SELECT zeroblob(200000)")

    event.listen(opened.engine.sync_engine, "commit", limit_pages)
    with pytest.raises(Unavailable, match=r"The database refuses writes: .*full"):
        await _insert_checkpoint(opened)
    assert "full" in opened.write_refusal
    event.remove(opened.engine.sync_engine, "commit", limit_pages)
    await opened.engine.dispose()
    assert await _count_checkpoints(opened) == 0
    await _insert_checkpoint(opened)
    assert (await _count_checkpoints(opened), opened.write_refusal) == (1, "")
    await opened.close()


async def test_a_full_disk_is_told_as_such_until_a_write_succeeds(tmp_path: Path) -> None:
    """A database with a full disk is reported as refusing writes, and not as away, until a write succeeds."""
    opened = await open_archive(Settings(data=str(tmp_path)))
    insertion = insert(services).values(
        id="s",
        name="n" * 200_000,
        category="c",
        base_amount=1,
        currency="USD",
        pricing="flat",
        duration_min=1,
        active=True,
    )

    def limit_pages(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # SQLite raises this to the number of pages that exist

    event.listen(opened.engine.sync_engine, "begin", limit_pages)
    with pytest.raises(Unavailable, match=r"The database refuses writes: .*full"):
        async with opened.begin_write() as conn:
            await conn.execute(insertion)
    assert "full" in opened.write_refusal
    event.remove(opened.engine.sync_engine, "begin", limit_pages)
    await opened.engine.dispose()
    async with opened.begin_write() as conn:
        await conn.execute(insertion)
    assert opened.write_refusal == ""
    await opened.close()
