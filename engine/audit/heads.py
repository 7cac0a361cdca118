"""Sign heads of the audit trees, read them, and store the last one in a file of the data directory.

The file is outside the database. It shows an archiver that its database was restored to an older state. The archiver
then must not continue the old tree, because the published heads would contradict it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit import signed_note, trees
from engine.audit.server_keys import HeadKey
from engine.audit.signed_note import Head
from engine.audit.trees import TreeState
from engine.clock import now_ms
from engine.sql.audit_tables import audit_heads
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.types import Zone

ENTRIES_PER_HEAD = 1_000
HEAD_INTERVAL_S = 60.0
"""A head is signed after ``ENTRIES_PER_HEAD`` entries, and after this time if there are new entries."""
HEADS_FOLDER = "audit"
"""The folder of the data directory with one file for each zone."""


class StoredHead(NamedTuple):
    """A head in SQL. ``at`` is the time of its signature in ms since the Unix epoch."""

    head: Head
    at: int


async def sign_crossing(
    conn: AsyncConnection, archive: Archive, zone: Zone, state: TreeState, appended: int, key: HeadKey
) -> str | None:
    """Sign the head of a tree to which this transaction has appended ``appended`` leaves, if the size of the tree
    reached or passed a multiple of ``ENTRIES_PER_HEAD`` with these leaves. Return the signed note, or None.
    """
    size = state.compact.size
    if size // ENTRIES_PER_HEAD == (size - appended) // ENTRIES_PER_HEAD:
        return None
    return await _sign(conn, archive, zone, state, key)


async def sign_newest(archive: Archive, zone: Zone, key: HeadKey) -> str | None:
    """Sign a head of the zone's tree in its present size, unless there is one already. Return the signed note of the
    head. Raises the same errors as ``Archive.begin_write``.
    """
    async with archive.begin_read() as conn:
        if not await _unsigned_state(conn, zone):
            return None
    async with archive.begin_write() as conn:
        state = await _unsigned_state(conn, zone)
        return await _sign(conn, archive, zone, state, key) if state else None


async def _unsigned_state(conn: AsyncConnection, zone: Zone) -> TreeState | None:
    """Return the state of the zone's tree; None if it is signed already, or empty."""
    state = await trees.read_state(conn, zone)
    last = await read_newest(conn, zone)
    is_signed = state and last and (last.head.tree, last.head.size) == (state.tree, state.compact.size)
    return None if is_signed else state


async def _sign(conn: AsyncConnection, archive: Archive, zone: Zone, state: TreeState, key: HeadKey) -> str:
    origin, now = await trees.read_origin(conn, zone, state.tree), now_ms()
    note = signed_note.sign_head(origin, state.compact.size, state.compact.root(), key.private)
    await key.publish(conn, now)
    row = {"zone": zone, "tree": state.tree, "size": state.compact.size, "at": now, "note": note}
    await conn.execute(insert_into(archive, audit_heads).values(**row).on_conflict_do_nothing())
    return note


async def read_newest(conn: AsyncConnection, zone: str, tree: int | None = None) -> StoredHead | None:
    """Return the newest head of a zone, or of its tree number ``tree``; None if there is no head."""
    columns = audit_heads.c
    query = select(columns.note, columns.at).where(columns.zone == zone)
    if tree is not None:
        query = query.where(columns.tree == tree)
    query = query.order_by(columns.tree.desc(), columns.size.desc()).limit(1)
    row = (await conn.execute(query)).one_or_none()
    return StoredHead(signed_note.parse_head(row.note), row.at) if row else None


def file_path(data: str, zone: str) -> Path:
    """Return the path of the file with the zone's last head."""
    return Path(data) / HEADS_FOLDER / f"{zone}.head"


def write_file(data: str, zone: str, note: str) -> None:
    """Replace the file with the zone's last head. Raises OSError."""
    path = file_path(data, zone)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(note, "utf-8")
    draft.replace(path)


def read_file(data: str, zone: str) -> Head | None:
    """Return the head in the zone's file; None if there is no file. Raises ValueError if the file has another content,
    and OSError.
    """
    try:
        text = file_path(data, zone).read_text("utf-8")
    except FileNotFoundError:
        return None
    return signed_note.parse_head(text)
