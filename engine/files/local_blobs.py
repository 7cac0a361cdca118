"""Blobs in a directory: ``ab/cdef…``, by the hex digits of their SHA-256.

(Rejected: obstore's LocalStore, which renames files without a sync. A photo that was acknowledged could be empty after
a power failure.)
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from engine.files.blob_errors import os_errors_as_unavailable

CHUNK_BYTES = 64 * 1024
"""The size of the pieces of a blob that is read as a stream."""
MAX_DIGESTS = 2
"""How many blobs are read for their digests at once, so that threads are left for other work."""


class LocalBlobs:
    """A blob store in ``folder``. All work on files runs in threads, because a disk may be slow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "uploads"
        self._digests = asyncio.Semaphore(MAX_DIGESTS)

    async def put(self, sha256: str, source: Path | bytes) -> None:
        """Store a blob from bytes or from a file, which is moved."""
        await asyncio.to_thread(self._put, sha256, source)

    async def read(self, sha256: str) -> bytes:
        """Return a whole blob. Raises BlobMissing."""
        with os_errors_as_unavailable():
            return await asyncio.to_thread(self.path_of(sha256).read_bytes)

    async def stream(self, sha256: str) -> AsyncGenerator[bytes]:
        """Return a blob in pieces. Raises BlobMissing before the first piece."""
        with os_errors_as_unavailable():
            return _pieces(await asyncio.to_thread(self.path_of(sha256).open, "rb"))

    async def digest(self, sha256: str) -> str:
        """Return the digest of what is stored under this name. Raises BlobMissing."""
        with os_errors_as_unavailable():
            async with self._digests:
                return await asyncio.to_thread(_digest, self.path_of(sha256))

    async def delete(self, sha256: str) -> None:
        """Delete a blob, if it is there."""
        with os_errors_as_unavailable():
            await asyncio.to_thread(self.path_of(sha256).unlink, missing_ok=True)

    def path_of(self, sha256: str) -> Path:
        """Return the path of a blob."""
        return self.folder / sha256[:2] / sha256[2:]

    def _put(self, sha256: str, source: Path | bytes) -> None:
        path = self.path_of(sha256)
        with os_errors_as_unavailable():
            if isinstance(source, bytes):
                data, source = source, make_folder(self.temporary) / token_hex(16)
                source.write_bytes(data)
            with source.open("rb") as file:
                os.fsync(file.fileno())
            source.replace(make_folder(path.parent) / path.name)
            _sync_folder(path.parent)


def make_folder(folder: Path) -> Path:
    """Create a folder that only this user may read, and its missing parents. Return the folder."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)
    return folder


def _sync_folder(folder: Path) -> None:
    """Write the directory entries of a folder to disk. Without this, a new file may be lost at a power failure."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _pieces(file: BinaryIO) -> AsyncGenerator[bytes]:
    with file, os_errors_as_unavailable():
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece
