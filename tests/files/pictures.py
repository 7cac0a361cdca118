"""Create photos for tests with Pillow. They have metadata that must be removed."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image

SECRETS = (b"GPS-SECRET", b"MAKER-SECRET", b"COMMENT-SECRET", b"XMP-SECRET", b"TRAILER-SECRET", b"BETWEEN-SECRET")
"""Texts in the metadata of these photos. No stripped photo has one."""


def noise(width: int = 96, height: int = 64, *, seed: int = 1, mode: str = "RGB") -> Image.Image:
    """Return an image of smooth noise that compresses like a photo."""
    few = Image.frombytes(
        mode, (width // 8, height // 8), random.Random(seed).randbytes(width // 8 * (height // 8) * len(mode))
    )
    return few.resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif_bytes(orientation: int = 6) -> bytes:
    """Return Exif metadata with an orientation, a maker and a position."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "MAKER-SECRET"
    exif.get_ifd(0x8825)[29] = "GPS-SECRET"
    return exif.tobytes()


def segment(marker: int, content: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*, seed: int = 1, size: tuple[int, int] = (96, 64), progressive: bool = True, **options: Any) -> bytes:
    """Return a JPEG with all kinds of metadata, also between its scans and after its end."""
    plain = encode(noise(*size, seed=seed), "JPEG", progressive=progressive, exif=exif_bytes(), quality=90, **options)
    head = segment(0xFE, b"COMMENT-SECRET") + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0XMP-SECRET")
    marked = plain[:2] + head + plain[2:]
    between = marked.rfind(b"\xff\xda")  # before the last scan
    if progressive:
        marked = (
            marked[:between] + segment(0xE1, b"BETWEEN-SECRET") + segment(0xFE, b"BETWEEN-SECRET") + marked[between:]
        )
    return marked + b"TRAILER-SECRET" + b"PK\x05\x06" + b"<script>alert(1)</script>"


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*, seed: int = 1, mode: str = "RGBA") -> bytes:
    """Return a PNG with all kinds of metadata, and bytes after its end."""
    plain = encode(noise(seed=seed, mode=mode), "PNG", exif=exif_bytes())
    texts = png_chunk(b"tEXt", b"Comment\0COMMENT-SECRET") + png_chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0XMP-SECRET"
    )
    return plain[:33] + texts + plain[33:] + b"TRAILER-SECRET"


def webp(*, seed: int = 1, mode: str = "RGB", lossless: bool = False) -> bytes:
    """Return a WebP with metadata, and bytes after its end."""
    xmp = b"<x:xmpmeta>XMP-SECRET</x:xmpmeta>"
    return (
        encode(noise(seed=seed, mode=mode), "WEBP", exif=exif_bytes(), xmp=xmp, lossless=lossless) + b"TRAILER-SECRET"
    )


def bomb_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """Return a PNG of a few bytes whose header says that it has 3,600 megapixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
        + png_chunk(b"IEND", b"")
    )


def bomb_jpeg() -> bytes:
    """Return a JPEG whose header says 60,000 x 60,000."""
    plain = bytearray(encode(noise(), "JPEG"))
    at = plain.index(b"\xff\xc0")
    plain[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(plain)
