"""The images of signatures in the blob store. An image is stored before the step that signs, because a receipt must
never name an image that is missing. A row of ``files`` names the image until the receipt does. If the step is refused,
the row stays unattached, and a chore deletes it and the blob after a day.
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
    """Store the image or the strokes of a signature under their digest. Raises Unavailable. While SQL is unavailable,
    no row is stored: the customer can still sign, but the blob of a refused signature is never deleted.
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
