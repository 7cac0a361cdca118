"""Copy the rows of archived jobs in SQLite under new ids, so that a database has many jobs within seconds.

Real bookings would take minutes for 100,000 jobs. The copies differ from their originals in the ids of the job and its
room, and in the seqs of their events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.types import DEFAULT_ZONE, JobId, new_job_id, room_of
from server.simulation.progress import UpdateProgress

JOBS_PER_COMMIT = 2_000
TABLES = {
    "jobs": "id",
    "job_states": "job",
    "offers": "job",
    "events": "job",
    "rooms": "job",
}
"""The tables whose rows belong to a job, and the column that names it."""
ROWS_OF_ROOMS = ("room_members", "room_reads")

Row = tuple[Any, ...]


def clone_jobs(path: Path, count: int, update: UpdateProgress) -> None:
    """Copy archived jobs in the database at ``path`` until it has ``count``. ``update`` is called with the number so
    far.
    """
    with closing(sqlite3.connect(path)) as database:
        columns = {table: _columns(database, table) for table in (*TABLES, *ROWS_OF_ROOMS)}
        originals = [job for (job,) in database.execute("SELECT id FROM jobs ORDER BY id")]
        rows = {job: _rows_of_job(database, job) for job in originals}
        (seq,) = database.execute("SELECT max(seq) FROM events WHERE zone = ?", (DEFAULT_ZONE,)).fetchone()
        pending: dict[str, list[Row]] = {table: [] for table in columns}
        for number in range(count - len(originals)):
            original = originals[number % len(originals)]
            seq = _clone(pending, rows[original], columns, original, seq)
            if number % JOBS_PER_COMMIT == 0:
                _insert(database, pending, columns)
                update(len(originals) + number, "")
        _insert(database, pending, columns)
        update(count, "")
        database.execute("UPDATE checkpoints SET seq = ? WHERE zone = ?", (seq, DEFAULT_ZONE))
        database.execute("UPDATE room_progress SET seq = ? WHERE zone = ?", (seq, DEFAULT_ZONE))
        database.commit()


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


def _rows_of_job(database: sqlite3.Connection, job: str) -> dict[str, list[Row]]:
    found = {
        table: database.execute(f"SELECT * FROM {table} WHERE {column} = ?", (job,)).fetchall()
        for table, column in TABLES.items()
    }
    room = room_of(JobId(job))
    return found | {
        table: database.execute(f"SELECT * FROM {table} WHERE room = ?", (room,)).fetchall() for table in ROWS_OF_ROOMS
    }


def _clone(
    pending: dict[str, list[Row]],
    rows: dict[str, list[Row]],
    columns: dict[str, list[str]],
    original: str,
    seq: int,
) -> int:
    """Add a copy of a job's rows to ``pending``. Return the seq of its last event."""
    ulids = original.rpartition("_")[2], new_job_id(DEFAULT_ZONE).rpartition("_")[2]
    seqs: dict[int, int] = {}
    place = columns["events"].index("seq")
    for row in sorted(rows["events"], key=lambda each: int(each[place])):
        seq += 1
        seqs[row[place]] = seq
    for table, of_table in rows.items():
        names = columns[table]
        pending[table] += [tuple(_with_new_ids(names, row, ulids, seqs)) for row in of_table]
    return seq


def _with_new_ids(names: Sequence[str], row: Row, ulids: tuple[str, str], seqs: dict[int, int]) -> Iterator[Any]:
    for name, value in zip(names, row, strict=True):
        if name == "seq":
            yield seqs.get(value, value)
        else:
            yield value.replace(*ulids) if isinstance(value, str) else value


def _insert(database: sqlite3.Connection, pending: dict[str, list[Row]], columns: dict[str, list[str]]) -> None:
    for table, rows in pending.items():
        marks = ", ".join("?" * len(columns[table]))
        database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        rows.clear()
    database.commit()
