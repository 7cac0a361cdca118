"""The migrations keep what is in the tables."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, LargeBinary, MetaData, func, insert, inspect, select, text
from sqlalchemy.types import Boolean, Float, Integer

from engine.domain import jobs
from engine.domain.commands import CommandInput
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.sql import migrate
from engine.sql.columns import metadata
from engine.sql.database import Archive, open_archive
from engine.sql.technician_tables import technician_states
from engine.types import JobId
from engine.workers import archiver
from tests.rebuild.scene import open_scene
from tests.support import people

TABLES_NOT_FILLED = {"alembic_version", "deployment"}
"""Tables that the migrations fill themselves."""
SAMPLES = {"ledger_lines": {"amount": 0}}
"""Values that a trigger demands: the lines of an entry of the ledger add up to 0."""
FILLED_LAST = {"ledger_entries"}
"""A trigger demands that an entry of the ledger has its lines."""
RowOfTable = dict[str, dict[str, Any]]


@pytest.fixture
def has_schema() -> bool:
    """Return false: each test here migrates its own database."""
    return False


def sample_value(column: Column[Any], number: int, rows: RowOfTable) -> Any:
    """Return a value for ``column``: that of the row it refers to, or one by its type."""
    for key in column.foreign_keys:
        return rows[key.column.table.name][key.column.name]
    kind = column.type
    if isinstance(kind, Boolean):
        return True
    if isinstance(kind, Integer):
        return 1_700_000_000_000 + number if "BIGINT" in str(kind).upper() else number
    if isinstance(kind, Float):
        return number + 0.5
    return b"\x00\xff%d" % number if isinstance(kind, LargeBinary) else f"{column.table.name}·{column.name}·Ω{number}"


def fill_new_tables(connection: Connection, rows: RowOfTable) -> None:
    """Insert one row into each table that is not in ``rows`` and is empty, and note it in ``rows``."""
    new = set(inspect(connection).get_table_names()) - TABLES_NOT_FILLED - rows.keys()
    found = MetaData()
    found.reflect(connection, only=sorted(new))
    empty = [
        table
        for table in found.sorted_tables
        if table.name in new and not connection.execute(select(func.count()).select_from(table)).scalar()
    ]
    for table in empty:
        rows[table.name] = {c.name: sample_value(c, n, rows) for n, c in enumerate(table.columns, 1)}
        rows[table.name] |= SAMPLES.get(table.name, {})
    for table in sorted(empty, key=lambda table: table.name in FILLED_LAST):
        connection.execute(insert(table).values(rows[table.name]))


@functools.cache
def scripts() -> ScriptDirectory:
    """Return the migrations, which are read once."""
    return ScriptDirectory(str(migrate.MIGRATIONS_FOLDER))


def upgrade_to(connection: Connection, revision: str) -> None:
    """Run the migrations up to ``revision``, as alembic's command `upgrade` does."""
    config = Config()
    config.attributes["connection"] = connection

    def steps(current: Any, _: Any) -> Any:
        return scripts()._upgrade_revs(revision, current)

    with EnvironmentContext(config, scripts(), fn=steps, destination_rev=revision):
        scripts().run_env()


def revisions() -> list[str]:
    """Return all revisions, the first of them first."""
    return [each.revision for each in scripts().walk_revisions()][::-1]


async def open_unmigrated(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """Open the archive without running its migrations."""
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "upgrade_schema", lambda _: None)
        return await open_archive(settings)


async def test_rows_of_every_release_are_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row in each table, inserted by the first release that has the table, is unchanged after all later migrations,
    but for columns that were dropped.
    """
    rows: RowOfTable = {}
    archive = await open_unmigrated(settings, monkeypatch)
    first, *later = revisions()
    async with archive.begin_write() as conn:
        for revision in (first, *later[:-1]):
            await conn.run_sync(upgrade_to, revision)
            await conn.run_sync(fill_new_tables, rows)
    await archive.close()
    archive = await open_archive(settings)
    assert archive.problem == ""
    assert set(rows) >= {"users", "events", "event_channels", "jobs", "messages", "audit", "payments"}
    async with archive.begin_read() as conn:
        assert (await conn.execute(text("SELECT version_num FROM alembic_version"))).scalar() == later[-1]
        for name, row in rows.items():
            table = metadata.tables[name]
            kept = {column: value for column, value in row.items() if column in table.columns}
            [found] = (await conn.execute(select(*(table.c[column] for column in kept)))).mappings()
            assert dict(found) == kept, name
    await archive.close()


async def test_accounts_under_way_in_the_first_release_reach_the_outbox(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspension that the first release had committed, but Redis had not yet, is in the outbox afterwards."""
    archive = await open_unmigrated(settings, monkeypatch)
    async with archive.begin_write() as conn:
        await conn.run_sync(upgrade_to, revisions()[0])
        await conn.execute(
            text(
                "INSERT INTO users (id, email, name, role, active, password_hash, version, hot, created_at)"
                " VALUES ('u', 'u@example.org', 'U', 'customer', false, 'x', 2, false, 7)"
            )
        )
    await archive.close()
    archive = await open_archive(settings)
    async with archive.begin_read() as conn:
        [row] = await conn.execute(text('SELECT "user", code FROM outbox'))
    assert tuple(row) == ("u", 4502)
    await archive.close()


async def test_an_archive_without_an_audit_tree_is_marked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migration notes how far a zone without a tree was archived, and nothing of a zone that has a tree."""
    archive = await open_unmigrated(settings, monkeypatch)
    async with archive.begin_write() as conn:
        await conn.run_sync(upgrade_to, "0024")
        for zone in ("main", "north"):
            await conn.execute(text(f"INSERT INTO checkpoints (zone, epoch, seq) VALUES ('{zone}', 'e1-x', 7)"))
        columns = "zone, tree, first_seq, size, peaks, begun_at"
        await conn.execute(text(f"INSERT INTO audit_trees ({columns}) VALUES ('north', 1, 1, 0, '', 1)"))
    await archive.close()
    archive = await open_archive(settings)
    async with archive.begin_read() as conn:
        rows = await conn.execute(text("SELECT zone, seq_before_audit FROM checkpoints ORDER BY zone"))
        assert [tuple(row) for row in rows] == [("main", 7), ("north", None)]
    await archive.close()


async def test_technicians_get_what_earlier_events_say(engine: Engine) -> None:
    """If an archive's events were stored before the table of technicians' states existed, the migration fills the table
    with the states that the archiver computes from the same events. Values of later events in a row are not lost.
    """
    scene = await open_scene(engine, capacity=5)
    job = people.id_of(await scene.book_and_claim())
    await jobs.run_command(engine, scene.technician, JobId(job), CommandInput(command="unassign"))
    await scene.book_and_claim()
    await people.offered_job(engine, scene.customer, scene.service)
    await archiver.run_once(engine)
    expected = await read_states(engine.archive)
    assert [(row["online"], row["accepted"] > 1, row["asked"] > 2) for row in expected] == [(True, True, True)]
    for more in (0, 10):
        async with engine.archive.begin_write() as conn:
            if more:
                await conn.execute(text(f"UPDATE technician_states SET accepted = accepted + {more}, asked = 0"))
            else:
                await conn.execute(text("DELETE FROM technician_states"))
            await conn.execute(text("UPDATE alembic_version SET version_num = '0026'"))
            await conn.run_sync(upgrade_to, "0027")  # later migrations would find their own changes
            await conn.execute(text(f"UPDATE alembic_version SET version_num = '{migrate.newest_revision()}'"))
        found = await read_states(engine.archive)
        assert found == [row | {"accepted": row["accepted"] + more} for row in expected]


async def read_states(archive: Archive) -> list[dict[str, Any]]:
    """Return the rows of ``technician_states``."""
    async with archive.begin_read() as conn:
        return [dict(row) for row in (await conn.execute(select(technician_states))).mappings()]
