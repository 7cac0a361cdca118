"""Acknowledgement level ``sql`` needs a database that has written a transaction to its disk before it acknowledges the
commit.
"""

from __future__ import annotations

import asyncpg
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from engine.errors import Unavailable
from engine.process.settings import Settings, SettingsError
from engine.sql.commit_settings import _level_report
from engine.sql.database import open_archive


async def set_for_database(settings: Settings, statement: str) -> None:
    """Run ``ALTER DATABASE … statement`` for the test's database."""
    url = make_url(settings.database or "")
    connection = await asyncpg.connect(host=url.query["host"], user="postgres", database=url.database)
    await connection.execute(f'ALTER DATABASE "{url.database}" {statement}')
    await connection.close()


async def test_the_settings_of_the_database_are_named(settings: Settings) -> None:
    """SQLite always writes a commit to its disk; of PostgreSQL the settings that decide about it are read."""
    archive = await open_archive(msgspec.structs.replace(settings, durability="sql"))
    expected = (
        ("SQLite synchronous=FULL",)
        if archive.is_sqlite
        else ("PostgreSQL synchronous_commit=on", "PostgreSQL fsync=on")
    )
    assert archive.commit_settings.report.checks == expected
    assert archive.commit_settings.report.problems == archive.commit_settings.report.warnings == ()
    await archive.close()


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
async def test_asynchronous_commits_are_refused_at_the_start(settings: Settings) -> None:
    """With ``synchronous_commit=off`` a process of level ``sql`` does not start; at level ``fast`` it does."""
    await set_for_database(settings, "SET synchronous_commit = off")
    with pytest.raises(SettingsError, match="level sql: PostgreSQL has synchronous_commit=off"):
        await open_archive(msgspec.structs.replace(settings, durability="sql"))
    archive = await open_archive(settings)
    assert archive.problem == ""
    await archive.close()


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
async def test_asynchronous_commits_are_refused_on_a_new_connection(settings: Settings) -> None:
    """A database that commits asynchronously after a failover is unavailable, and nothing is archived there."""
    archive = await open_archive(msgspec.structs.replace(settings, durability="sql"))
    await set_for_database(settings, "SET synchronous_commit = off")
    await archive.engine.dispose()
    with pytest.raises(Unavailable, match="synchronous_commit=off"):
        async with archive.begin_write() as conn:
            await conn.execute(text("SELECT 1"))
    await set_for_database(settings, "RESET synchronous_commit")
    async with archive.begin_write() as conn:
        await conn.execute(text("SELECT 1"))
    await archive.close()


@pytest.mark.parametrize(
    ("standbys", "hidden", "synchronous", "commit", "warning"),
    [
        (0, 0, 0, "on", ""),
        (1, 0, 1, "on", ""),
        (1, 0, 0, "on", "only asynchronous standbys"),
        (2, 2, 0, "on", "is hidden from this user"),
        (2, 0, 1, "local", "synchronous_commit=local"),
    ],
)
def test_standbys_that_may_lack_commits_are_named(
    standbys: int, hidden: int, synchronous: int, commit: str, warning: str
) -> None:
    """A standby that does not have every commit weakens the level, because it may be promoted."""
    settings = {"synchronous_commit": commit, "fsync": "on"}
    report = _level_report(
        settings | {"standbys": standbys, "hidden_standbys": hidden, "synchronous_standbys": synchronous}
    )
    assert report.problems == () and warning in "".join(report.warnings) and bool(warning) == bool(report.warnings)
