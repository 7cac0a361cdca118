"""PostgreSQL with settings of other installations: with the sort order of a language, and behind a pooler that gives
each transaction another connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
from sqlalchemy import insert, select, text

from engine.process.settings import Settings, SettingsError
from engine.sql.database import open_archive
from engine.sql.schema import checkpoints
from tests.archive.test_migrations import open_unmigrated, upgrade_to
from tests.archive.transaction_pooler import TransactionPooler
from tests.support.postgres import url_of

FOREIGN_ORDER_QUERY = """
SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_collation o ON o.oid = a.attcollation
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
    AND o.collname <> 'C'
"""


@pytest.fixture
def settings(postgres_settings: Settings) -> Settings:
    """Return settings with PostgreSQL."""
    return postgres_settings


async def test_all_texts_are_ordered_by_bytes(settings: Settings) -> None:
    """After the migrations each text column is sorted by bytes, so that pages of ids have the same order as in Python,
    in a database of any language.
    """
    archive = await open_archive(settings)
    async with archive.begin_read() as conn:
        assert set((await conn.execute(text(FOREIGN_ORDER_QUERY))).scalars()) == {"alembic_version.version_num"}
    await archive.close()


@pytest.mark.parametrize("has_schema", [False])
async def test_an_older_database_gets_the_order_of_bytes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, has_schema: bool
) -> None:
    """The text columns of an earlier release are sorted in the database's language. The migration changes them to the
    order of bytes, and all rows and foreign keys stay.
    """
    assert not has_schema
    archive = await open_unmigrated(settings, monkeypatch)
    async with archive.begin_write() as conn:
        await conn.run_sync(upgrade_to, "0020")
        await conn.execute(text("INSERT INTO checkpoints (zone, epoch, seq) VALUES ('B', 'e1', 1)"))
        for change in (
            'ALTER TABLE checkpoints ALTER zone TYPE text COLLATE "POSIX"',
            'ALTER TABLE users ALTER id TYPE text COLLATE "default"',
        ):
            await conn.execute(text(change))
    await archive.close()
    again = await open_archive(settings)
    assert again.problem == ""
    async with again.begin_read() as conn:
        assert set((await conn.execute(text(FOREIGN_ORDER_QUERY))).scalars()) == {"alembic_version.version_num"}
        assert (await conn.execute(select(checkpoints.c.zone))).scalars().all() == ["B"]
    await again.close()


@pytest.fixture
async def pooler(postgres_socket: Path, postgres_name: str, tmp_path: Path) -> AsyncIterator[TransactionPooler]:
    """Yield a running pooler in front of the test's database."""
    (folder := tmp_path / "pooler").mkdir()
    running = TransactionPooler(folder, postgres_socket)
    await running.open()
    yield running
    await running.close()


async def test_each_transaction_may_have_another_connection(
    settings: Settings, pooler: TransactionPooler, postgres_name: str
) -> None:
    """Behind a pooler by transaction, with ``statement_cache_size=0``, transactions of many clients read and write
    although each has another connection than the one before.
    """
    address = url_of(postgres_name, pooler.folder) + "&statement_cache_size=0"
    archive = await open_archive(msgspec.structs.replace(settings, database=address))
    assert archive.problem == ""

    async def write(number: int) -> None:
        async with archive.begin_write() as conn:
            await conn.execute(insert(checkpoints).values(zone=f"z{number}", epoch="e1", seq=number))
        async with archive.begin_read() as conn:
            query = select(checkpoints.c.seq).where(checkpoints.c.zone == f"z{number}")
            assert (await conn.execute(query)).scalar() == number

    for start in range(0, 16, 4):
        await asyncio.gather(*(write(start + n) for n in range(4)))
    assert pooler.most_per_client > 1
    await archive.close()


async def test_prepared_statements_fail_behind_such_a_pooler(pooler: TransactionPooler, postgres_name: str) -> None:
    """The pooler of these tests is one by transaction: a statement of one transaction is unknown in the next."""
    client = await asyncpg.connect(host=str(pooler.folder), user="postgres", database=postgres_name)
    assert await client.fetchval("SELECT 1") == 1
    with pytest.raises(asyncpg.InvalidSQLStatementNameError):
        await client.fetchval("SELECT 1")
    await client.close()


async def test_refuses_a_cache_size_that_is_no_number(settings: Settings) -> None:
    """A wrong ``statement_cache_size`` is refused as a wrong setting."""
    with pytest.raises(SettingsError, match="statement_cache_size must be a number"):
        await open_archive(msgspec.structs.replace(settings, database=f"{settings.database}&statement_cache_size=no"))
