"""The file that clients download for a receipt: a ZIP with everything that the checks need, so that they can be made
without a server.

``receipt.json`` is the evidence, ``record.json`` the canonical record, ``signature.png`` the image or
``signature.json`` the strokes. The files in ``photos/`` are named by the digests of the photos. There is no other file:
whoever opens the ZIP would take it for signed.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import msgspec

from engine.rules.job_record import photo_digests
from engine.vault.evidence import Contents, Evidence

RECEIPT_FILE, RECORD_FILE = "receipt.json", "record.json"
PHOTO_FOLDER = "photos/"
MAX_FILES = 512
MAX_MEMBER_BYTES = 16 * 2**20
"""The largest file of a ZIP that is read. The server writes none of more than 8 MiB."""
PIECE_BYTES = 64 * 1024
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_IMAGE_FILES = ("signature.png", "signature.json")
_NAMES = (RECEIPT_FILE, RECORD_FILE, *_IMAGE_FILES)
_ENDINGS = ((b"\xff\xd8", "jpg"), (b"\x89PNG", "png"), (b"RIFF", "webp"))
_evidence_decoder = msgspec.json.Decoder(Evidence)


class NotAPackage(ValueError):
    """Raised if a file is not a receipt of the vault, or is damaged. The text says why."""


def image_file(kind: str) -> str:
    """Return the name in the ZIP of the image or of the strokes."""
    return _IMAGE_FILES[0] if kind == "png" else _IMAGE_FILES[1]


def photo_file(digest: str, start: bytes) -> str:
    """Return the name in the ZIP of a photo, whose first bytes are ``start``."""
    ending = next((ending for magic, ending in _ENDINGS if start.startswith(magic)), "bin")
    return f"{PHOTO_FOLDER}{digest}.{ending}"


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
        if min(info.header_offset for info in members.values()) > 0:
            raise NotAPackage("it has something else before the ZIP, which other programs may show")
        unknown = [name for name in members if not name.startswith(PHOTO_FOLDER) and name not in _NAMES]
        if unknown:
            raise NotAPackage(f"{unknown[0]} is no file of a receipt")
        try:
            evidence = _evidence_decoder.decode(_read_member(archive, RECEIPT_FILE))
        except (ValueError, RecursionError) as error:
            raise NotAPackage(f"{RECEIPT_FILE}: {error}") from error
        record = _read_member(archive, RECORD_FILE) if RECORD_FILE in members else None
        name = image_file(evidence.image_kind)
        image = _member_digest(archive, name) if name in members else None
        photos = [each for each in members if each.startswith(PHOTO_FOLDER) and each != PHOTO_FOLDER]
        files = _files_of_photos(photos, record)
        return evidence, Contents(
            record=record,
            image_sha256=image,
            photos={each: _member_digest(archive, file) if file else None for each, file in files.items()},
            has_other_image=any(each in members and each != name for each in _IMAGE_FILES),
            has_other_photos=len(photos) != sum(file is not None for file in files.values()),
        )


def _files_of_photos(files: list[str], record: bytes | None) -> dict[str, str | None]:
    """Return the file of each photo in the ZIP, by the photo's digest in the record; None if the photo is missing."""
    try:
        expected = photo_digests(record) if record else []
    except ValueError:
        return {}
    by_digest = {name.removeprefix(PHOTO_FOLDER).partition(".")[0]: name for name in files}
    return {each: by_digest.get(each) for each in expected}


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    return b"".join(_pieces(archive, name))


def _member_digest(archive: zipfile.ZipFile, name: str) -> str:
    digest = sha256()
    for piece in _pieces(archive, name):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """Yield a file in the ZIP. A wrong ZIP checksum is ignored, because the checks of digests report each change."""
    left = MAX_MEMBER_BYTES + 1
    with archive.open(name) as file:
        file._expected_crc = None  # type: ignore[attr-defined]
        while left > 0 and (piece := file.read(min(PIECE_BYTES, left))):
            left -= len(piece)
            yield piece
