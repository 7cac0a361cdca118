"""Blobs in an S3-compatible store, through obstore. Credentials, region and endpoint come from the environment, under
the names that all S3 clients use (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT``, …), or from the machine's role.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from engine.errors import Unavailable
from engine.files.blob_errors import BlobMissing

CHUNK_BYTES = 64 * 1024
"""The size of the pieces of a blob that is read as a stream."""
TIMEOUT_S = 20.0
"""The longest time for one request to the store, with its repeats."""
MAX_PUTS = 4
"""How many blobs are sent to the store at once: each is in memory then, with at most 8 MiB."""


class S3Blobs:
    """A blob store under a URL ``s3://BUCKET/PREFIX``. ``temporary`` is the local folder of incomplete uploads."""

    def __init__(self, url: str, temporary: Path) -> None:
        self.temporary = temporary
        self._puts = asyncio.Semaphore(MAX_PUTS)
        timeout = timedelta(seconds=TIMEOUT_S)
        # obstore refuses http:// unless it is allowed. A store on this machine or in a private network may have no TLS.
        plain = os.environ.get("AWS_ENDPOINT", os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http://")
        self._store = S3Store.from_url(
            url,
            client_options={"timeout": timeout, "allow_http": plain},
            retry_config={"max_retries": 3, "retry_timeout": timeout},
        )

    async def put(self, sha256: str, source: Path | bytes) -> None:
        """Store a blob from bytes or from a file, which is deleted after its upload."""
        async with self._puts:
            with _store_errors_as_unavailable():
                await obstore.put_async(self._store, path_of(sha256), source, use_multipart=False)
        if isinstance(source, Path):
            await asyncio.to_thread(source.unlink, missing_ok=True)

    async def read(self, sha256: str) -> bytes:
        """Return a whole blob. Raises BlobMissing."""
        with _store_errors_as_unavailable():
            found = await obstore.get_async(self._store, path_of(sha256))
            return bytes(await found.bytes_async())

    async def stream(self, sha256: str) -> AsyncGenerator[bytes]:
        """Return a blob in pieces. Raises BlobMissing before the first piece."""
        with _store_errors_as_unavailable():
            found = await obstore.get_async(self._store, path_of(sha256))
        return _pieces(found)

    async def digest(self, sha256: str) -> str:
        """Return the digest of what is stored under this name. Raises BlobMissing."""
        found = hashlib.sha256()
        async for piece in await self.stream(sha256):
            found.update(piece)
        return found.hexdigest()

    async def delete(self, sha256: str) -> None:
        """Delete a blob, if it is there."""
        with _store_errors_as_unavailable():
            await obstore.delete_async(self._store, path_of(sha256))


def path_of(sha256: str) -> str:
    """Return the path of a blob below the prefix."""
    return f"{sha256[:2]}/{sha256[2:]}"


async def _pieces(found: obstore.GetResult) -> AsyncGenerator[bytes]:
    with _store_errors_as_unavailable():
        async for received in found.stream(min_chunk_size=CHUNK_BYTES):
            whole = memoryview(received)
            for start in range(0, len(whole), CHUNK_BYTES):
                yield bytes(whole[start : start + CHUNK_BYTES])


@contextmanager
def _store_errors_as_unavailable() -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise BlobMissing("The file is not in the store") from error
    except (BaseError, OSError) as error:
        raise Unavailable("Files cannot be stored or read now") from error
