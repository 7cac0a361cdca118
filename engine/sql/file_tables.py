"""The tables of files: photos of jobs, files of chat messages, and documents of technicians. An upload inserts its row
before its bytes are stored; the archiver writes what a photo or a message attached (engine/archive/file_rows.py).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, UniqueConstraint

from engine.sql.columns import id_column, metadata, text_column, time_column

files = Table(
    "files",
    metadata,
    id_column(),
    text_column("target"),
    text_column("sha256"),
    text_column("kind"),
    text_column("media"),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    text_column("by"),
    text_column("by_role"),
    time_column("created_at"),
    time_column("used_at"),
    Column("attached_at", BigInteger),
    Column("client_id", Text),
    Column("n", BigInteger),
    UniqueConstraint("target", "sha256", "by"),
    Index(None, "sha256"),
    Index(None, "by"),
    Index(None, "attached_at", "used_at"),
)
"""The files. ``target`` is what a file is for: ``job:<id>``, ``room:<id>`` or ``technician:<id>``. ``used_at`` is the
time of the last upload of the file, or of the last message that named it. ``attached_at`` is NULL until the file is
attached to its target. A file of a room belongs to one message, with the sender's ``client_id`` and the number ``n``.
"""

file_releases = Table(
    "file_releases",
    metadata,
    id_column("sha256"),
    time_column("at"),
    Column("deleting_until", BigInteger),
)
"""The blobs that a deleted row named. A chore deletes those that no row names any more. ``deleting_until`` is set while
it does: an upload of the same bytes waits until then at most.
"""
