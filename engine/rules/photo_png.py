"""Strip a PNG file (W3C PNG, third edition): keep the chunks that the still image needs, and check their checksums."""

from __future__ import annotations

import zlib
from collections.abc import Generator

from engine.rules.photo_orientation import orientation_tiff, read_orientation
from engine.rules.photos import WINDOW_BYTES, Parts, Photo, PhotoRefused, Source, Steps, check_pixels, refuse_truncated

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs"}
    | {b"cICP", b"mDCV", b"cLLI"}
)
"""The image, and what says how its colors are meant. An animation becomes its still image."""
ONCE = KEPT - {b"IDAT"}
BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""The permitted bit depths of each color type."""
MAX_CHUNKS = 20_000
MAX_EXIF_BYTES = 64 * 1024
CHUNKS_PER_STEP = 32


def strip_png(data: Source) -> Steps:
    """Return a PNG without its metadata. See :mod:`engine.rules.photos`."""
    parts, at, size = Parts(), len(SIGNATURE), (0, 0)
    parts.keep(0, at)
    seen: set[bytes] = set()
    before = b""
    for count in range(MAX_CHUNKS):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data) or len(kind) < 4:
            refuse_truncated()
        _check_order(kind, before, seen)
        if kind in KEPT:
            yield from _check_sum(data, at, end)
            parts.keep(at, end)
        elif kind == b"eXIf" and kind not in seen:
            _keep_orientation(parts, data[at + 8 : min(end - 4, at + MAX_EXIF_BYTES)])
        if kind == b"IHDR":
            size = _read_header(data[at + 8 : end - 4])
        if kind == b"IEND":
            if b"IDAT" not in seen:
                raise PhotoRefused("The image has no pixels")
            return Photo("image/png", *size, parts.parts)
        seen.add(kind)
        before, at = kind, end
        if count % CHUNKS_PER_STEP == 0:
            yield
    raise PhotoRefused("The image has too many parts")


def _check_order(kind: bytes, before: bytes, seen: set[bytes]) -> None:
    """Raise PhotoRefused for a chunk at a wrong place and for an unknown critical chunk, because decoders would show
    different pixels.
    """
    is_wrong = (
        (kind == b"IHDR") != (not before)
        or (kind in ONCE and kind in seen)
        or (kind == b"IDAT" and before != kind and kind in seen)
        or not kind.isalpha()
        or (kind[:1].isupper() and kind not in KEPT)
    )
    if is_wrong:
        raise PhotoRefused("The image is damaged")


def _read_header(header: bytes) -> tuple[int, int]:
    """Return width and height."""
    if (
        len(header) != 13
        or header[8] not in BIT_DEPTHS.get(header[9], ())
        or header[10:12] != b"\0\0"
        or header[12] > 1
    ):
        raise PhotoRefused("The header of the image is wrong")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    check_pixels(width, height)
    return width, height


def _keep_orientation(parts: Parts, tiff: bytes) -> None:
    if kept := orientation_tiff(read_orientation(tiff)):
        body = b"eXIf" + kept
        parts.add(len(kept).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big"))


def _check_sum(data: Source, at: int, end: int) -> Generator[None, None, None]:
    """Raise PhotoRefused if the chunk's checksum is wrong."""
    found, place = 0, at + 4
    while place < end - 4:
        following = min(place + WINDOW_BYTES, end - 4)
        found = zlib.crc32(data[place:following], found)
        if following < end - 4:
            yield
        place = following
    if found != int.from_bytes(data[end - 4 : end], "big"):
        raise PhotoRefused("The image is damaged")
