"""Signatures of customers: what a client sends to sign the record of a job."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import Any

STROKES = [[[10, 40, 0], [60, 12, 80], [110, 44, 160]], [[20, 60], [100, 62]]]


def make_png(width: int = 24, height: int = 8, *, shade: int = 200, extra: bytes = b"") -> bytes:
    """Return a grey PNG. ``extra`` are chunks that are put before its pixels."""
    rows = b"".join(b"\0" + bytes([shade]) * width for _ in range(height))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", binascii.crc32(kind + content))


def signature_of(shown: dict[str, Any], name: str = "Carla Customer", *, strokes: bool = False) -> dict[str, Any]:
    """Return the body that signs the record which a client was shown (the reply of ``GET …/record``)."""
    drawn = {"strokes": STROKES} if strokes else {"image": base64.b64encode(make_png()).decode()}
    return {"sha256": shown["sha256"], "name": name, **drawn}
