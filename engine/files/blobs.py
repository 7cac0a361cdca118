"""The blob store: bytes under the name of their SHA-256, in a local directory or in an S3-compatible store.

The same bytes are stored once, even if several users upload them. A blob never changes, so that a repeated ``put`` and
a repeated ``delete`` are harmless. A blob is deleted after the last SQL row that names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.files.local_blobs import LocalBlobs
from engine.process.settings import Settings, SettingsError

if TYPE_CHECKING:
    from engine.files.s3_blobs import S3Blobs

S3_SCHEME = "s3://"


class BlobStore(Protocol):
    """A store of blobs by their SHA-256 in hex. Every method may raise Unavailable."""

    temporary: Path
    """The folder of uploads that are not complete yet. It is local, and on the same file system as a local store."""

    async def put(self, sha256: str, source: Path | bytes) -> None:
        """Store a blob from bytes or from a file, which is moved or copied. When this returns, the blob survives a
        power failure.
        """

    async def read(self, sha256: str) -> bytes:
        """Return a whole blob, for small ones such as signatures. Raises BlobMissing."""

    async def stream(self, sha256: str) -> AsyncGenerator[bytes]:
        """Return a blob in pieces of at most 64 KiB, each read when it is wanted. Raises BlobMissing before the first
        piece. A caller that stops before the end closes the generator.
        """

    async def digest(self, sha256: str) -> str:
        """Return the SHA-256, in hex, of the bytes that are stored under this name. Raises BlobMissing."""

    async def delete(self, sha256: str) -> None:
        """Delete a blob, if it is there."""


def digest_of(data: bytes) -> str:
    """Return the name of a blob: its SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def open_blobs(settings: Settings) -> BlobStore:
    """Return the blob store that the settings choose. This reads and creates nothing; the methods of the store do.
    Raises SettingsError if the store is S3 and ``obstore`` is not installed.
    """
    if settings.files is not None and settings.files.startswith(S3_SCHEME):
        return _open_s3(settings.files, Path(settings.data) / "uploads")
    folder = Path(settings.files) if settings.files else Path(settings.data) / "blobs"
    return LocalBlobs(folder)


def place_of(settings: Settings) -> str:
    """Return where the blobs are: an S3 URL or a folder."""
    return settings.files or str(Path(settings.data) / "blobs")


def check_shared(settings: Settings) -> None:
    """Raise SettingsError if the gateways may run on several hosts and the setting ``files`` names no place that all of
    them reach.

    The gateways may run on several hosts if the settings name a shared Redis and a shared key file. A server with its
    own Redis runs on one host.
    """
    if settings.redis is not None and settings.key_file is not None and settings.files is None:
        raise SettingsError(
            "files: redis and key_file are set, so that several hosts may share this deployment, but a file in"
            f" {settings.data}/blobs is on this host alone; set files to a folder that every host mounts, or to"
            " s3://BUCKET/PREFIX (a folder of this host, if it is the only one)"
        )


def _open_s3(url: str, temporary: Path) -> S3Blobs:
    try:
        from engine.files.s3_blobs import S3Blobs
    except ImportError as error:
        raise SettingsError(f"files: {url} needs obstore: pip install callout[s3]") from error
    return S3Blobs(url, temporary)
