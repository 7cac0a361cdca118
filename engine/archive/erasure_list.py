"""The list of erasures: a file outside both stores. After a backup is restored, the listed persons are erased again
before anybody reads their data.

A line is written before anything of the person is erased. ``apply_list`` erases, only in SQL, the persons whom the file
names and the database does not: restore and rebuild call it before a zone opens. engine/workers/eraser.py later appends
the event to the log, and finishes the erasure.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import insert, select, update

from engine.archive import erase_events, erase_rows, person_reader
from engine.clock import now_ms
from engine.process.settings import Settings
from engine.sql.database import Archive
from engine.sql.erasure_tables import erasures
from engine.sql.schema import users
from engine.types import UserId

FILE_NAME = "erasures.jsonl"

log = structlog.get_logger(__name__)


class ListedErasure(msgspec.Struct, frozen=True):
    """A line of the file: the erasure's id, the user's id, and when the erasure began (ms)."""

    id: str
    user: UserId
    at: int


_line_decoder = msgspec.json.Decoder(ListedErasure)


def file_of(settings: Settings) -> Path:
    """Return the path of the list."""
    return Path(settings.erasures_file or Path(settings.data) / FILE_NAME)


def read_list(path: Path) -> list[ListedErasure]:
    """Return the listed erasures; a line that was not completely written is skipped, because nothing was erased yet.
    Raises OSError if there is a file that cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(_line_decoder.decode(line))
        except msgspec.DecodeError:
            log.error("erasure_list_line_unreadable", path=str(path))
    return found


def add_to_list(path: Path, entry: ListedErasure) -> None:
    """Append a line and sync the file, unless the list has the erasure. Raises OSError."""
    if any(known.id == entry.id for known in read_list(path)):
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(file).st_size
        needs_end = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        os.write(file, (b"\n" if needs_end else b"") + msgspec.json.encode(entry) + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


async def apply_list(archive: Archive, settings: Settings, *, is_open: bool = False) -> int:
    """Erase in SQL each listed person whom the database does not show as erased. Return how many were erased.
    ``is_open`` says that the zones are open: then erasures that are under way are left to the process that does them.
    Raises OSError and the same errors as ``Archive.begin_write``.
    """
    listed = read_list(file_of(settings))
    if not listed:
        return 0
    async with archive.begin_read() as conn:
        states = {row.user: row.state for row in await conn.execute(select(erasures.c.user, erasures.c.state))}
        accounts = set((await conn.execute(select(users.c.id))).scalars()) if len(states) < len(listed) else set(states)
    passed = ("done", "running") if is_open else ("done",)
    due = [each for each in listed if states.get(each.user) not in passed and each.user in {*accounts, *states}]
    for entry in due:
        await _erase_in_sql(archive, entry)
        log.warning("erased_again", user=entry.user)
    return len(due)


async def _erase_in_sql(archive: Archive, entry: ListedErasure) -> None:
    person = await person_reader.read_person(archive, entry.user, [])
    for zone in await person_reader.read_zones(archive):
        seqs = await person_reader.find_seqs(archive, zone, person, with_quarantine=True)
        await erase_events.erase_events(archive, zone, person, seqs, None)
    await erase_rows.erase_rows(archive, person)
    async with archive.begin_write() as conn:
        await erase_rows.erase_account(conn, person)
        running = {"state": "running", "restored": True}
        changed = await conn.execute(update(erasures).where(erasures.c.user == entry.user).values(**running))
        if changed.rowcount == 0:
            row = {"id": entry.id, "user": entry.user, "actor": "engine", "requested_at": now_ms()}
            await conn.execute(insert(erasures).values(**row, **running))
