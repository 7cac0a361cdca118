"""The file ``snapshot.json`` of a snapshot: the SHA-256 digest and the size of each other file. A snapshot in which a
file is missing or differs is not restored."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from engine.process.datadir import CannotStart

MANIFEST = "snapshot.json"


class FileDigest(msgspec.Struct):
    """The size of a file in bytes, and its SHA-256 digest in hexadecimal."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct):
    """What a restore reads of the manifest: the digests of the files by their path in the snapshot."""

    files: dict[str, FileDigest]


def write_manifest(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of all files in ``folder``, with ``facts`` that only people read. Return the manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {path.relative_to(folder).as_posix(): _digest(path) for path in paths}
    manifest = {**facts, "files": msgspec.to_builtins(files)}
    (folder / MANIFEST).write_text(json.dumps(manifest) + "\n")
    return manifest


def verify_files(folder: Path, *required: tuple[str, ...]) -> set[str]:
    """Return the paths of the snapshot's files after all were compared with the manifest. ``required``: of each tuple
    of paths, at least one must be in the snapshot. Raises CannotStart with the name of the file that is missing or
    differs.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError:
        raise CannotStart(f"{folder} is not a snapshot: there is no {MANIFEST}") from None
    except msgspec.DecodeError as error:
        raise CannotStart(f"{folder / MANIFEST} is damaged, or has no digests of the files: {error}") from None
    for name, expected in manifest.files.items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise CannotStart(f"{folder} is not complete: {name}: {error.strerror}") from None
        if found != expected:
            raise CannotStart(f"{folder} is damaged: {name} is not as it was written: its digest differs")
    for names in required:
        if not manifest.files.keys() & set(names):
            raise CannotStart(f"{folder} is not complete: {MANIFEST} lists no {' or '.join(names)}")
    return set(manifest.files)


def _digest(path: Path) -> FileDigest:
    with path.open("rb") as file:
        return FileDigest(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
