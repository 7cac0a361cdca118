"""Write the ZIP of a receipt piece by piece, so that no whole photo is in memory."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import IO, TYPE_CHECKING, cast

from engine.files.blob_errors import BlobMissing
from engine.vault import package
from engine.vault.receipts import Receipt, signed_photos

if TYPE_CHECKING:
    from engine.runtime import Engine


class PackageWriter:
    """Write a ZIP. Each method returns the bytes that were written since the last call."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0
        self._zip = zipfile.ZipFile(cast(IO[bytes], self), "w", zipfile.ZIP_STORED)
        self._member: IO[bytes] | None = None

    def begin(self, name: str) -> None:
        """End the present file of the ZIP, and begin the next one."""
        self._end_member()
        self._member = self._zip.open(zipfile.ZipInfo(name), "w")

    def add(self, piece: bytes) -> bytes:
        """Add a piece to the present file."""
        assert self._member is not None
        self._member.write(piece)
        return self._take()

    def finish(self) -> bytes:
        """End the last file, and write the directory of the ZIP."""
        self._end_member()
        self._zip.close()
        return self._take()

    def write(self, data: bytes) -> int:
        """Take what zipfile writes."""
        self._pieces.append(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        """Return how much was written."""
        return self._at

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def _end_member(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None

    def _take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


async def write_package(engine: Engine, receipt: Receipt) -> AsyncGenerator[bytes]:
    """Yield the ZIP of a receipt in pieces of about 64 KiB. Erased content, and blobs that the store does not have, are
    left out. Raises Unavailable.
    """
    writer = PackageWriter()
    try:
        async with aclosing(_write_members(engine, receipt, writer)) as pieces:
            async for piece in pieces:
                yield piece
        yield writer.finish()
    finally:
        writer.finish()  # also if the client has disconnected, because zipfile warns about an open file


async def _write_members(engine: Engine, receipt: Receipt, writer: PackageWriter) -> AsyncGenerator[bytes]:
    row = receipt.row
    writer.begin(package.RECEIPT_FILE)
    yield writer.add(package.encode_evidence(receipt.evidence))
    if row.record is not None:
        writer.begin(package.RECORD_FILE)
        yield writer.add(row.record.encode())
    image_name = package.image_file(row.image_kind)
    named = [(row.image, image_name)] if row.image else []
    for sha256, name in [*named, *((photo, None) for photo in signed_photos(row.record))]:
        async with aclosing(_write_blob(engine, writer, sha256, name)) as pieces:
            async for piece in pieces:
                yield piece


async def _write_blob(engine: Engine, writer: PackageWriter, sha256: str, name: str | None) -> AsyncGenerator[bytes]:
    """Yield a file with a blob, if the store has it. Without ``name`` the blob is a photo, and its first bytes
    determine the name.
    """
    try:
        pieces = await engine.blobs.stream(sha256)
    except BlobMissing:
        return
    is_begun = False
    async with aclosing(pieces):
        async for piece in pieces:
            if not is_begun:
                writer.begin(name or package.photo_file(sha256, piece))
                is_begun = True
            yield writer.add(piece)
