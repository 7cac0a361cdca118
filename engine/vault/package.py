"""The file that clients download for a receipt: a ZIP with everything that the checks need, so that they can be made
without a server.

``receipt.json`` is the evidence, ``record.json`` the canonical record, ``signature.png`` the image or
``signature.json`` the strokes. The files in ``photos/`` are named by the digests of the photos.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec

from engine.rules.canonical import digest_of
from engine.rules.job_record import photo_digests
from engine.vault.evidence import Contents, Evidence

RECEIPT_FILE, RECORD_FILE = "receipt.json", "record.json"
PHOTO_FOLDER = "photos/"
MAX_FILES = 512
MAX_MEMBER_BYTES = 16 * 2**20
"""The largest file of a ZIP that is read. The server writes none of more than 8 MiB."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENDINGS = ((b"\xff\xd8", "jpg"), (b"\x89PNG", "png"), (b"RIFF", "webp"))
_evidence_decoder = msgspec.json.Decoder(Evidence)


class NotAPackage(ValueError):
    """Raised if a file is not a receipt of the vault, or is damaged. The text says why."""


def image_file(kind: str) -> str:
    """Return the name in the ZIP of the image or of the strokes."""
    return "signature.png" if kind == "png" else "signature.json"


def photo_file(digest: str, photo: bytes) -> str:
    """Return the name in the ZIP of a photo."""
    ending = next((ending for magic, ending in _ENDINGS if photo.startswith(magic)), "bin")
    return f"{PHOTO_FOLDER}{digest}.{ending}"


class PackageWriter:
    """Write a ZIP piece by piece. ``add`` and ``finish`` return the bytes that were written since the last call."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0
        self._zip = zipfile.ZipFile(cast(IO[bytes], self), "w", zipfile.ZIP_STORED)

    def add(self, name: str, data: bytes) -> bytes:
        """Add a file, and return what has been written."""
        self._zip.writestr(zipfile.ZipInfo(name), data)
        return self._take()

    def finish(self) -> bytes:
        """Write the directory of the ZIP, and return the remaining bytes."""
        self._zip.close()
        return self._take()

    def write(self, data: bytes) -> int:
        """Collect bytes that ``zipfile`` writes."""
        self._pieces.append(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._at

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def _take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def encode_evidence(evidence: Evidence) -> bytes:
    """Return ``receipt.json``."""
    return msgspec.json.format(msgspec.json.encode(evidence), indent=2)


def read_package(path: Path) -> tuple[Evidence, Contents]:
    """Return the evidence and contents in a downloaded file. Raises NotAPackage, OSError."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except NotAPackage:
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise NotAPackage(f"not a readable ZIP: {error}") from error


def _read(file: BinaryIO) -> tuple[Evidence, Contents]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) > MAX_FILES or len(members) != len(archive.infolist()):
            raise NotAPackage("too many files, or two of one name")
        large = [name for name, info in members.items() if info.file_size > MAX_MEMBER_BYTES]
        if large:
            raise NotAPackage(f"{large[0]} is too large")
        if any(info.compress_type not in _METHODS for info in members.values()):
            raise NotAPackage("it is compressed in another way than DEFLATE")
        if RECEIPT_FILE not in members:
            raise NotAPackage(f"it has no {RECEIPT_FILE}")
        try:
            evidence = _evidence_decoder.decode(_member(archive, RECEIPT_FILE))
        except ValueError as error:
            raise NotAPackage(f"{RECEIPT_FILE}: {error}") from error
        record = _member(archive, RECORD_FILE) if RECORD_FILE in members else None
        name = image_file(evidence.image_kind)
        image = digest_of(_member(archive, name)) if name in members else None
        return evidence, Contents(record=record, image_sha256=image, photos=_photos(archive, members, record))


def _photos(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], record: bytes | None
) -> dict[str, str | None]:
    """Return the digest of each photo in the ZIP, by its digest in the record; None if the photo is missing."""
    try:
        expected = photo_digests(msgspec.json.decode(record)) if record else []
    except (ValueError, KeyError, TypeError):
        return {}
    files = {
        name.removeprefix(PHOTO_FOLDER).partition(".")[0]: name for name in members if name.startswith(PHOTO_FOLDER)
    }
    return {each: digest_of(_member(archive, files[each])) if each in files else None for each in expected}


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the bytes of a file in the ZIP. A wrong ZIP checksum is ignored, because the checks of digests report each
    change.
    """
    with archive.open(name) as file:
        file._expected_crc = None  # type: ignore[attr-defined]
        return file.read(MAX_MEMBER_BYTES + 1)
