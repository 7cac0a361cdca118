"""The images of signatures in the blob store. An image is stored before the step that signs, since the receipt of that
step must never name an image that is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.runtime import Engine


async def store_image(engine: Engine, sha256: str, image: bytes) -> None:
    """Store an image, or strokes, under its digest. Raises Unavailable."""
    await engine.blobs.put(sha256, image)
