"""Receive a photo into a temporary file, and strip its metadata into a second one.

All slow work runs in threads. A thread releases Python's interpreter lock after every ``photos.WINDOW_BYTES``, so that
uploads do not delay the event loop. One photo is stripped at a time, in a thread of low priority: with two threads, the
event loop waited 7 ms instead of 4.5 ms while eight photos of 8 MiB arrived on one core (``python -m bench upload``).
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
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
NICENESS = 15
"""The niceness of the thread that strips photos, so that the kernel runs the event loop before it."""
WRITE_BYTES = 256 * 1024
"""How much of an upload is held in memory before a thread writes it to the file."""
GRACE_S, SLOW_BYTES_S = 10.0, 64 * 1024
"""An upload that is slower than half a megabit a second after 10 s may stay while there are slots. If another one needs
a slot, the slowest of these is ended.
"""
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


class RunningUpload:
    """One upload that holds a slot: since when (s of the monotonic clock), and how much of it has arrived."""

    def __init__(self, caller: str) -> None:
        self.caller, self.began, self.received = caller, time.monotonic(), 0
        self.arrival: asyncio.Timeout | None = None
        """The wait for the body; None before and after it."""

    def is_slow(self, now: float) -> bool:
        """Return whether the body arrives slowly and may be ended."""
        age = now - self.began
        return self.arrival is not None and age > GRACE_S and self.received < age * SLOW_BYTES_S

    def end(self) -> None:
        """Stop waiting for the body."""
        assert self.arrival is not None
        self.arrival.reschedule(0)


class UploadSlots:
    """The uploads that this process receives now."""

    def __init__(self) -> None:
        self._running: list[RunningUpload] = []
        self._stripping = ThreadPoolExecutor(1, "strip-photo", initializer=_lower_priority)
        self._cleaned_at = -CLEAN_INTERVAL_S

    @property
    def count(self) -> int:
        """Return how many uploads run now."""
        return len(self._running)

    def count_of(self, caller: str) -> int:
        """Return how many uploads of a caller run now."""
        return sum(upload.caller == caller for upload in self._running)

    @contextmanager
    def take(self, caller: str) -> Iterator[RunningUpload]:
        """Hold a slot. Raises RateLimited if the caller has too many, Unavailable if the process has, and none of them
        is slow.
        """
        if self.count_of(caller) >= MAX_UPLOADS_OF_CALLER:
            raise RateLimited(f"At most {MAX_UPLOADS_OF_CALLER} uploads at once", retry_after=1)
        if self.count >= MAX_UPLOADS and not self._end_slowest():
            raise Unavailable("Too many uploads at once", retry_after=1)
        upload = RunningUpload(caller)
        self._running.append(upload)
        try:
            yield upload
        finally:
            if upload in self._running:
                self._running.remove(upload)

    def _end_slowest(self) -> bool:
        """End the slowest upload and take its slot. Return whether one was slow enough."""
        now = time.monotonic()
        slow = [upload for upload in self._running if upload.is_slow(now)]
        if not slow:
            return False
        slowest = min(slow, key=lambda upload: upload.received / (now - upload.began))
        self._running.remove(slowest)
        slowest.end()
        return True

    async def receive(self, folder: Path, parts: AsyncIterator[bytes], upload: RunningUpload) -> StrippedUpload:
        """Receive a photo and strip it. The caller moves or deletes the file of the result. Raises TooLarge, Invalid
        for what is no photo, Unavailable, and the errors of ``parts``.
        """
        received = folder / token_hex(16)
        stripped = received.with_suffix(".stripped")
        try:
            with os_errors_as_unavailable():
                await self._clean(folder)
                await _receive_parts(received, parts, upload)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._stripping, _strip_file, received, stripped)
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


async def _receive_parts(path: Path, parts: AsyncIterator[bytes], upload: RunningUpload) -> None:
    """Write a body to a file. Raises Unavailable if the upload was ended because it is slow."""
    try:
        async with asyncio.timeout(None) as upload.arrival:
            await _write_parts(path, parts, upload)
    except TimeoutError as error:
        raise Unavailable("Too slow, and others wait to upload", retry_after=1) from error
    finally:
        upload.arrival = None


async def _write_parts(path: Path, parts: AsyncIterator[bytes], upload: RunningUpload) -> None:
    file, waiting = await asyncio.to_thread(_create_file, path), bytearray()
    try:
        async for part in parts:
            upload.received += len(part)
            if upload.received > photos.MAX_BYTES:
                raise TooLarge(f"At most {photos.MAX_BYTES} bytes")
            waiting += part
            if len(waiting) >= WRITE_BYTES:
                await asyncio.to_thread(file.write, waiting)
                waiting = bytearray()
        await asyncio.to_thread(file.write, waiting)
    finally:
        await asyncio.to_thread(file.close)


def _lower_priority() -> None:
    """Lower the priority of this thread alone. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


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
