"""The images of signatures in the blob store. An image is stored before the step that signs, since the receipt of that
step must never name an image that is not there. A row of ``files`` names it until the receipt does; if the step was
refused, the row is attached to nothing and goes with its blob after a day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from engine.clock import now_ms
from engine.errors import Unavailable
from engine.files import file_rows
from engine.files.file_rows import FileRow
from engine.types import Principal, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

KIND = "signature"
MEDIA_TYPES = {"png": "image/png", "strokes": "application/json"}

log = structlog.get_logger(__name__)


async def store_image(engine: Engine, by: Principal, receipt: str, sha256: str, image: bytes, kind: str) -> None:
    """Store an image, or strokes, under its digest. Raises Unavailable. While SQL is away, the row is left out: the
    customer can sign, and the blob of a refused signature stays.
    """
    now = now_ms()
    row = FileRow(
        id=new_id("fil"),
        target=f"receipt:{receipt}",
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
    try:
        await file_rows.store_row(engine.archive, row)
    except Unavailable as error:
        log.warning("signature_image_without_row", receipt=receipt, error=str(error))
    await engine.blobs.put(sha256, image)
