"""Upload photos in tests."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from engine.domain import files
from engine.runtime import Engine
from engine.types import Principal


def tiny_png(number: int = 0) -> bytes:
    """Return a PNG of one pixel. Different numbers give different files."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = b"\0" + number.to_bytes(3, "big")
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    parts = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


async def add_photos(http: httpx.AsyncClient, bearer: str, job: str, count: int = 2) -> list[dict[str, Any]]:
    """Upload ``count`` different photos to a job, as the user of the token. Return the files."""
    added = []
    for number in range(count):
        reply = await http.post(
            f"/v1/jobs/{job}/photos", content=tiny_png(number), headers={"Authorization": f"Bearer {bearer}"}
        )
        assert reply.status_code in (200, 201), reply.text
        added.append(reply.json()["file"])
    return added


async def attach_photos(engine: Engine, who: Principal, job: str, count: int = 2) -> None:
    """Add ``count`` photos to a job with the engine's function."""

    async def parts(number: int) -> AsyncIterator[bytes]:
        yield tiny_png(number)

    for number in range(count):
        await files.upload(engine, who, f"job:{job}", None, parts(number))
