"""A file as clients see it."""

from __future__ import annotations

import msgspec

from engine.events import rfc3339_of
from engine.files.file_rows import FileRow


class Uploader(msgspec.Struct, frozen=True):
    """Who uploaded a file."""

    id: str
    role: str


class FileObject(msgspec.Struct, frozen=True):
    """A file as clients see it. Its JSON members have the same order in events and in jobs."""

    id: str
    sha256: str
    kind: str
    bytes: int
    width: int
    height: int
    by: Uploader
    at: str


class FileReference(msgspec.Struct, frozen=True):
    """The id of a file object."""

    id: str


AttachedFiles = tuple[FileReference | str, ...]
"""The files of a stored message. Messages of releases before files existed have ids in place of objects."""


def file_ids(attached: AttachedFiles) -> tuple[str, ...]:
    """Return the ids of the files of a stored message."""
    return tuple(file if isinstance(file, str) else file.id for file in attached)


def file_object(row: FileRow) -> FileObject:
    """Return the file of a row as clients see it."""
    by = Uploader(row.by, row.by_role)
    return FileObject(row.id, row.sha256, row.kind, row.bytes, row.width, row.height, by, rfc3339_of(row.created_at))
