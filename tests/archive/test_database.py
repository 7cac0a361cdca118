"""The handle on SQL: what it refuses, that it is of this version, and that an absent database is waited for."""

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
from engine.sql.database import Archive, hide_password, open_archive
from engine.sql.schema import checkpoints, metadata, services, sessions
from tests.archive.conftest import Away


@pytest.fixture
def has_schema() -> bool:
    """Each of these migrates its own database."""
    return False


@pytest.mark.parametrize(
    "address",
    ["mysql://host/db", "nonsense", "sqlite://", "sqlite:///:memory:"],
    ids=["kind", "no-url", "memory", "mem"],
)
async def test_refuses_an_address_that_cannot_be_one(tmp_path: Path, address: str) -> None:
    """A database of another kind, or one that does not last, is a wrong setting."""
    with pytest.raises(SettingsError, match="database"):
        await open_archive(Settings(data=str(tmp_path), database=address))


async def test_refuses_a_database_of_a_newer_callout(archive: Archive, settings: Settings) -> None:
    """A schema from the future is not touched."""
    async with archive.writing() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match="another Callout"):
        await open_archive(settings)


async def test_refuses_a_row_without_its_parent(archive: Archive) -> None:
    """Foreign keys are enforced, on SQLite too."""
    row = {"id": "s", "user": "nobody", "salt": b"", "generation": 1, "rotated_at": 0, "expires_at": 0}
    with pytest.raises(IntegrityError):
        async with archive.writing() as conn:
            await conn.execute(insert(sessions).values(**row))


async def test_migrations_make_exactly_the_schema(archive: Archive) -> None:
    """What the migrations build is what the tables in schema.py say, and nothing else."""

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [d for d in compare_metadata(context, metadata) if "alembic_version" not in str(d)]

    async with archive.writing() as conn:
        assert await conn.run_sync(differences) == []


def test_the_newest_migration_file_is_the_head() -> None:
    """Each migration's file name begins with its revision, and the last one by name is Alembic's head."""
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS_FOLDER))
    scripts = ScriptDirectory.from_config(config)
    names = {Path(script.path).name: script.revision for script in scripts.walk_revisions()}
    assert all(name.startswith(f"{revision}_") for name, revision in names.items())
    assert scripts.get_heads() == [migrate.newest_revision()]


async def test_alembic_is_imported_only_to_migrate(
    archive: Archive, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database at the newest revision opens without Alembic, whose import would take 0.3 s of each start."""
    assert await archive.check() == []
    monkeypatch.setitem(sys.modules, "alembic", None)
    again = await open_archive(settings)
    assert again.problem == ""
    await again.close()


async def test_sqlite_is_set_to_lose_nothing(tmp_path: Path) -> None:
    """Write-ahead log, full synchronisation, foreign keys: on every connection."""
    archive = await open_archive(Settings(data=str(tmp_path / "new" / "folder")))
    async with archive.reading() as one, archive.reading() as two:
        for conn in (one, two):
            names = ("journal_mode", "synchronous", "foreign_keys")
            found = [(await conn.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in names]
            assert found == ["wal", 2, 1]
    await archive.close()


async def test_an_exception_rolls_everything_back(archive: Archive) -> None:
    """A transaction that is left by an exception has done nothing."""

    async def half() -> None:
        async with archive.writing() as conn:
            await conn.execute(insert(checkpoints).values(zone="main", epoch="e1", seq=1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half()
    assert await _count(archive) == 0


async def test_many_writers_at_once_all_write(archive: Archive) -> None:
    """Writers queue; none is told that the database is locked."""

    async def write(number: int) -> None:
        async with archive.writing() as conn:
            await conn.execute(insert(checkpoints).values(zone=f"z{number}", epoch="e1", seq=1))

    await asyncio.gather(*(write(n) for n in range(40)))
    assert await _count(archive) == 40


async def test_two_open_at_once_and_migrate_once(settings: Settings) -> None:
    """Several processes may start on an empty database together."""
    first, second = await asyncio.gather(open_archive(settings), open_archive(settings))
    assert [await first.check(), await second.check()] == [[], []]
    await first.close()
    await second.close()


async def test_away_is_unavailable_and_back_is_good(archive: Archive, away: Away) -> None:
    """While the database is away each write says that nothing was done; afterwards the same handle works."""
    async with away():
        with pytest.raises(Unavailable, match="database is away"):
            await _write(archive)
    await _write(archive)
    assert await _count(archive) == 1


async def test_starts_without_its_database_and_migrates_when_it_is_there(settings: Settings, away: Away) -> None:
    """A database that is away at start stops nobody: it is migrated when it is first reached."""
    async with away():
        archive = await open_archive(settings)
        assert archive.problem
        assert len(await archive.check()) == 1
    assert await archive.check() == []
    await _write(archive)
    await archive.close()


def test_a_password_is_never_shown() -> None:
    """Logs and doctor name the database without its password."""
    from sqlalchemy.engine import make_url

    assert "secret" not in hide_password(make_url("postgresql://me:secret@host/db"))


async def test_a_sqlite_url_names_the_file(tmp_path: Path) -> None:
    """``sqlite:///path`` puts the database there."""
    archive = await open_archive(Settings(data=str(tmp_path), database=f"sqlite:///{tmp_path}/else.db"))
    await archive.close()
    assert (tmp_path / "else.db").exists()
    assert msgspec.structs.asdict(Settings())["database"] is None


async def _write(archive: Archive) -> None:
    async with archive.writing() as conn:
        await conn.execute(insert(checkpoints).values(zone="main", epoch="e1", seq=1))


async def _count(archive: Archive) -> int:
    async with archive.reading() as conn:
        return (await conn.execute(select(func.count()).select_from(checkpoints))).scalar() or 0


async def test_a_commit_that_a_full_disk_refuses_did_nothing(tmp_path: Path) -> None:
    """The database has answered, so that it is known: unavailable, and what the transaction did is undone."""
    opened = await open_archive(Settings(data=str(tmp_path)))

    def refuse(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # at least what there is
        connection.exec_driver_sql("CREATE TABLE more AS SELECT zeroblob(200000)")

    event.listen(opened.engine.sync_engine, "commit", refuse)
    with pytest.raises(Unavailable, match=r"The database refuses writes: .*full"):
        await _write(opened)
    assert "full" in opened.refuses
    event.remove(opened.engine.sync_engine, "commit", refuse)
    await opened.engine.dispose()
    assert await _count(opened) == 0
    await _write(opened)
    assert (await _count(opened), opened.refuses) == (1, "")
    await opened.close()


async def test_a_full_disk_is_told_as_such_until_a_write_succeeds(tmp_path: Path) -> None:
    """A database that is there and takes no writes is not told as away, and is known to whoever asks for its state."""
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

    def no_more_pages(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # at least what there is

    event.listen(opened.engine.sync_engine, "begin", no_more_pages)
    with pytest.raises(Unavailable, match=r"The database refuses writes: .*full"):
        async with opened.writing() as conn:
            await conn.execute(insertion)
    assert "full" in opened.refuses
    event.remove(opened.engine.sync_engine, "begin", no_more_pages)
    await opened.engine.dispose()
    async with opened.writing() as conn:
        await conn.execute(insertion)
    assert opened.refuses == ""
    await opened.close()
