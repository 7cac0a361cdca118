"""The heads of the audit that a restored data directory begins with: the newest known one of each zone. With an older
one the server would continue a tree that contradicts a published head (docs/audit.md)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from engine.process.datadir import CannotStart
from engine.process.settings import SettingsError

if TYPE_CHECKING:
    from engine.audit.signed_note import Head


def read_installation(database: Path) -> str:
    """Return the id of the installation whose SQLite database this is. Raises CannotStart if it has none."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro&immutable=1", uri=True)) as sql:
            (own,) = sql.execute("SELECT id FROM deployment").fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise CannotStart(f"{database} is not a database of Callout: {error}") from None
    return str(own)


def refuse_foreign_heads(heads: list[Head], installation: str | None) -> None:
    """Raise SettingsError if a head belongs to another installation than ``installation`` (None: not known, every head
    is good).
    """
    for head in heads:
        if installation not in (None, head.deployment):
            raise SettingsError(f"--head: {head.origin} is a head of another installation than {installation}")


def put_newest_heads(folder: Path, data: Path, published: list[Head], installation: str | None) -> None:
    """Write for each zone the newest head of ``published``, the snapshot in ``folder`` and the data directory ``data``.
    Raises CannotStart if a file is no head.
    """
    from engine.audit.heads import write_file

    known = [*published, *_read_heads(folder), *_read_heads(data)]
    for head in sorted(known, key=lambda head: (head.tree, head.size)):
        if installation in (None, head.deployment):
            write_file(str(data), head.zone, head.note)


def _read_heads(root: Path) -> list[Head]:
    from engine.audit.heads import HEADS_FOLDER, read_file

    heads = []
    for file in sorted((root / HEADS_FOLDER).glob("*.head")):
        try:
            head = read_file(str(root), file.stem)
        except (OSError, ValueError) as error:
            raise CannotStart(f"{file} is not a head of the audit: {error}") from None
        heads += [head] if head else []
    return heads
