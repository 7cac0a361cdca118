"""Pictures that simulated people take: small PNG files of two colors."""

from __future__ import annotations

import struct
import zlib
from random import Random

WIDTH, HEIGHT = 64, 48


def draw_picture(random: Random) -> bytes:
    """Return a PNG file. Two pictures differ."""
    first, second = random.randbytes(3), random.randbytes(3)
    edge = random.randrange(8, WIDTH - 8)
    row = b"\0" + first * edge + second * (WIDTH - edge)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * HEIGHT)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
