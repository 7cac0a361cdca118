"""Tests of the connections to SQLite (``engine/sql/sqlite_connection.py``), through SQLAlchemy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from engine.errors import Unavailable
from engine.process.settings import Settings
from engine.sql.database import Archive, open_archive
from engine.sql.schema import epochs
from engine.sql.sqlite_connection import Connection

EPOCH_ROWS = [{"zone": "main", "epoch": f"e{n}", "first_seq": n} for n in range(3)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with an SQLite database."""
    return Settings(data=str(tmp_path / "data"))


async def test_a_file_that_is_no_database_is_refused(settings: Settings) -> None:
    """A text file in the place of the database makes the archive unavailable, and stays as it is."""
    path = Path(settings.data) / "callout.db"
    path.parent.mkdir()
    path.write_text("not a database " * 100)
    archive = await open_archive(settings)
    assert "file is not a database" in archive.problem
    with pytest.raises(Unavailable):
        async with archive.begin_read():
            pass
    await archive.close()
    assert path.read_text() == "not a database " * 100


async def test_a_refused_statement_raises_and_the_connection_can_be_used(archive: Archive) -> None:
    """An unknown table and a repeated key raise their errors; the same connection then executes a statement."""
    async with archive.begin_write() as conn:
        with pytest.raises(OperationalError, match="no such table"):
            await conn.execute(text("SELECT 1 FROM missing"))
        with pytest.raises(IntegrityError):
            await conn.execute(insert(epochs), [EPOCH_ROWS[0], EPOCH_ROWS[0]])
        assert (await conn.execute(text("SELECT 1"))).scalar_one() == 1


async def test_rows_and_counts_are_those_of_the_statement(archive: Archive) -> None:
    """Inserts of many rows, updates with and without RETURNING, and queries report their rows and their number."""
    async with archive.begin_write() as conn:
        await conn.execute(insert(epochs), EPOCH_ROWS)
        later = update(epochs).where(epochs.c.first_seq > 0).values(first_seq=epochs.c.first_seq + 10)
        assert (await conn.execute(later)).rowcount == 2
        returned = await conn.execute(later.returning(epochs.c.first_seq))
        assert sorted(returned.scalars()) == [21, 22]
        found = await conn.execute(select(epochs.c.epoch, epochs.c.first_seq).order_by(epochs.c.epoch))
        assert [tuple(row) for row in found] == [("e0", 0), ("e1", 21), ("e2", 22)]


async def test_capital_letters_of_all_languages_are_found(archive: Archive) -> None:
    """A search that ignores case finds letters outside ASCII too, as on PostgreSQL."""
    async with archive.begin_write() as conn:
        await conn.execute(insert(epochs), [{**EPOCH_ROWS[0], "epoch": "Özil, ÄNNE"}])
        for wanted in ("özil", "ÖZIL", "änne"):
            query = select(epochs.c.first_seq).where(epochs.c.epoch.icontains(wanted, autoescape=True))
            assert (await conn.execute(query)).scalars().all() == [0], wanted
        assert (await conn.execute(text("SELECT lower(NULL), lower(3)"))).one() == (None, "3")


async def test_each_statement_is_one_request_to_the_thread(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction with one query asks the connection's thread three times: BEGIN, the query, and the end."""
    requests: list[Any] = []
    execute = Connection._execute
    monkeypatch.setattr(Connection, "_execute", lambda self, *work: requests.append(work) or execute(self, *work))
    async with archive.begin_read() as conn:
        assert (await conn.execute(select(epochs.c.epoch))).all() == []
    assert len(requests) == 3
