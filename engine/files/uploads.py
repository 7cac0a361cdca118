"""Receive a photo into a temporary file, and strip its metadata into a second one.

All slow work runs in threads. A thread releases Python's interpreter lock after every ``photos.WINDOW_BYTES``, so that
uploads do not delay the event loop. At most ``MAX_STRIPPING`` photos are stripped at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, NamedTuple

from engine.errors import Invalid, RateLimited, TooLarge, Unavailable
from engine.files.blob_errors import os_errors_as_unavailable
from engine.files.local_blobs import make_folder
from engine.rules import photos
from engine.rules.photo_formats import strip_photo
from engine.rules.photos import Photo, PhotoRefused, Source

MAX_UPLOADS = 32
"""The most uploads that one process receives at once."""
MAX_UPLOADS_OF_CALLER = 4
MAX_STRIPPING = 2
WRITE_BYTES = 256 * 1024
"""How much of an upload is held in memory before a thread writes it to the file."""
PAUSE_S = 0.0002
"""How long a thread that strips a photo sleeps between two steps. With 0, the thread would often take the interpreter
lock again before the event loop wakes."""
MAX_AGE_S = 3600.0
"""A temporary file of this age was left by a killed process, and is deleted."""
CLEAN_INTERVAL_S = 600.0


class StrippedUpload(NamedTuple):
    """A photo without metadata, in a temporary file."""

    path: Path
    sha256: str
    photo: Photo
    size: int


class UploadSlots:
    """The uploads that this process receives now."""

    def __init__(self) -> None:
        self._callers: Counter[str] = Counter()
        self._stripping = asyncio.Semaphore(MAX_STRIPPING)
        self._cleaned_at = -CLEAN_INTERVAL_S

    @contextmanager
    def take(self, caller: str) -> Iterator[None]:
        """Hold an upload slot. Raises RateLimited if the caller has too many uploads, and Unavailable if the process
        has.
        """
        if self._callers[caller] >= MAX_UPLOADS_OF_CALLER:
            raise RateLimited(f"At most {MAX_UPLOADS_OF_CALLER} uploads at once", retry_after=1)
        if self._callers.total() >= MAX_UPLOADS:
            raise Unavailable("Too many uploads at once", retry_after=1)
        self._callers[caller] += 1
        try:
            yield
        finally:
            self._callers[caller] -= 1
            self._callers += Counter()  # removes callers without uploads

    async def receive(self, folder: Path, parts: AsyncIterator[bytes]) -> StrippedUpload:
        """Receive a photo and strip it. The caller moves or deletes the file of the result. Raises TooLarge, Invalid if
        the bytes are not an accepted photo, Unavailable, and the errors of ``parts``.
        """
        received = folder / token_hex(16)
        stripped = received.with_suffix(".stripped")
        try:
            with os_errors_as_unavailable():
                await self._clean(folder)
                await _write_parts(received, parts)
                async with self._stripping:
                    return await asyncio.to_thread(_strip_file, received, stripped)
        except BaseException:
            await asyncio.to_thread(stripped.unlink, missing_ok=True)
            raise
        finally:
            await asyncio.to_thread(received.unlink, missing_ok=True)

    async def _clean(self, folder: Path) -> None:
        if time.monotonic() - self._cleaned_at > CLEAN_INTERVAL_S:
            self._cleaned_at = time.monotonic()
            await asyncio.to_thread(delete_old_uploads, folder)


def delete_old_uploads(folder: Path) -> int:
    """Delete the temporary files of uploads that a killed process left. Return their number."""
    oldest, deleted = time.time() - MAX_AGE_S, 0
    for path in make_folder(folder).iterdir():
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
                deleted += 1
    return deleted


def _create_file(path: Path) -> BinaryIO:
    """Open a new file, and create its folder if it is missing: the first uploads of a server may start at the same
    time.
    """
    make_folder(path.parent)
    return path.open("wb")


async def _write_parts(path: Path, parts: AsyncIterator[bytes]) -> None:
    file, waiting, total = await asyncio.to_thread(_create_file, path), bytearray(), 0
    try:
        async for part in parts:
            total += len(part)
            if total > photos.MAX_BYTES:
                raise TooLarge(f"At most {photos.MAX_BYTES} bytes")
            waiting += part
            if len(waiting) >= WRITE_BYTES:
                await asyncio.to_thread(file.write, waiting)
                waiting = bytearray()
        await asyncio.to_thread(file.write, waiting)
    finally:
        await asyncio.to_thread(file.close)


def _strip_file(received: Path, stripped: Path) -> StrippedUpload:
    """Strip a photo, in a thread. Raises Invalid."""
    try:
        with _mapped(received) as data:
            photo = _run_steps(data)
            digest = hashlib.sha256()
            with stripped.open("wb") as file:
                for piece in _pieces(data, photo):
                    digest.update(piece)
                    file.write(piece)
                    time.sleep(PAUSE_S)
    except PhotoRefused as error:
        raise Invalid(str(error)) from error
    return StrippedUpload(stripped, digest.hexdigest(), photo, photos.size_of(photo.parts))


@contextmanager
def _mapped(path: Path) -> Iterator[Source]:
    """Yield the bytes of a file as a memory map, which reads them from the page cache when they are used."""
    file: BinaryIO
    with path.open("rb") as file:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _run_steps(data: Source) -> Photo:
    steps = strip_photo(data)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: Photo = done.value
            return found
        time.sleep(PAUSE_S)


def _pieces(data: Source, photo: Photo) -> Iterator[bytes]:
    """Yield a stripped photo in pieces of at most ``WRITE_BYTES``."""
    for part in photo.parts:
        if isinstance(part, bytes):
            yield part
            continue
        for start in range(part.start, part.end, WRITE_BYTES):
            yield data[start : min(start + WRITE_BYTES, part.end)]
