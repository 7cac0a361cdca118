"""The images of signatures in the blob store. An image is stored before the step that signs, because a receipt must
never name an image that is missing.

A row of ``files`` names the image until the receipt does. Each attempt has its own row. A refused attempt deletes its
row at once, and a chore deletes the blob unless another row names it. If the outcome of the step is unknown, the row
stays unattached, and a chore deletes it after a day.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from engine.clock import now_ms
from engine.errors import Indeterminate, Unavailable
from engine.files import deferred_rows, file_rows
from engine.files.file_rows import FileRow
from engine.sql.file_tables import files
from engine.types import Principal, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

KIND = "signature"
MEDIA_TYPES = {"png": "image/png", "strokes": "application/json"}

log = structlog.get_logger(__name__)


class SignatureImage:
    """The image, or the strokes, of one attempt to sign. ``sha256`` is its digest, ``kind`` is `png` or `strokes`."""

    def __init__(self, engine: Engine, by: Principal, receipt: str, sha256: str, image: bytes, kind: str) -> None:
        now, name = now_ms(), new_id("fil")
        self._engine, self._image = engine, image
        self._row = FileRow(
            id=name,
            target=f"receipt:{receipt}:{name}",
            sha256=sha256,
            kind=KIND,
            media=MEDIA_TYPES[kind],
            bytes=len(image),
            width=0,
            height=0,
            by=by.id,
            by_role=by.role,
            created_at=now,
            used_at=now,
        )
        self._is_stored = self._is_kept = False

    async def store(self) -> None:
        """Store the image, once. Raises Unavailable. While SQL is unavailable, its row is inserted
        later, so that the customer can sign.
        """
        if self._is_stored:
            return
        self._is_stored = True
        archive, blobs = self._engine.archive, self._engine.blobs
        try:
            await file_rows.store_row(archive, self._row)
        except (Unavailable, Indeterminate) as error:
            log.warning("signature_image_without_row", row=self._row.id, error=str(error))
            await deferred_rows.defer_row(blobs.temporary, self._row)
        await blobs.put(self._row.sha256, self._image)

    def keep(self) -> None:
        """Note that the step was done: its receipt may name the image, so that ``discard`` does nothing."""
        self._is_kept = True

    async def discard(self) -> None:
        """Delete the row of a refused step; a chore deletes the blob. While SQL is unavailable, both stay for a day."""
        if not self._is_stored or self._is_kept:
            return
        with suppress(Unavailable, Indeterminate):
            async with self._engine.archive.begin_write() as conn:
                await file_rows.delete_rows(conn, self._engine.archive, files.c.id == self._row.id)
