"""The image of a customer's signature: a PNG, or the strokes of a pen. Nothing is decoded. A PNG is read chunk by
chunk, and every chunk that is not needed to show the image is left out, so that no metadata of a device is stored.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Sequence
from typing import Annotated, cast

import msgspec
from msgspec import Meta

MAX_IMAGE_BYTES = 256 * 1024
MAX_SIDE = 4_096
"""The most pixels of a side of the image."""
MAX_CHUNKS = 256
"""Browsers write a chunk for each 8 KiB or more. Each takes a microsecond, so that the event loop waits for all."""
MAX_STROKES = 500
MAX_POINTS = 5_000
"""How many points all strokes have together."""
MAX_COORDINATE = 1_000_000
Coordinate = Annotated[int, Meta(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_SHOWN_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"IDAT", b"IEND"})
_HEAD = struct.Struct(">I4s")


class NotASignature(ValueError):
    """Raised for bytes or strokes that cannot be a signature. The text says why."""


def clean_png(data: bytes) -> bytes:
    """Return the image without metadata. The pixels do not change, because the compressed data is copied.

    Raises NotASignature if ``data`` is not a PNG, is damaged, is too large or has too many chunks.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise NotASignature(f"More than {MAX_IMAGE_BYTES} bytes")
    if not data.startswith(PNG_MAGIC):
        raise NotASignature("Not a PNG")
    kept, at = bytearray(PNG_MAGIC), len(PNG_MAGIC)
    kinds: list[bytes] = []
    while not kinds or kinds[-1] != b"IEND":
        if len(kinds) == MAX_CHUNKS:
            raise NotASignature(f"More than {MAX_CHUNKS} chunks")
        if at + 12 > len(data):
            raise NotASignature("The PNG ends too early")
        size, kind = _HEAD.unpack_from(data, at)
        end = at + 12 + size
        if end > len(data) or binascii.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise NotASignature("The PNG is damaged")
        if not kinds:
            _check_header(kind, data[at + 8 : end - 4])
        kinds.append(kind)
        if kind in _SHOWN_CHUNKS:
            kept += data[at:end]
        elif not kind[0] & 0x20:
            raise NotASignature("The PNG has an unknown critical chunk")
        at = end
    if b"IDAT" not in kinds:
        raise NotASignature("The PNG has no pixels")
    return bytes(kept)


def _check_header(kind: bytes, content: bytes) -> None:
    if kind != b"IHDR" or len(content) != 13:
        raise NotASignature("The PNG has no header")
    width, height = struct.unpack_from(">II", content)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise NotASignature(f"The image must have 1 to {MAX_SIDE} pixels a side")


class Point(msgspec.Struct, array_like=True, gc=False, forbid_unknown_fields=True):
    """A point of a stroke: the array ``[x, y]`` or ``[x, y, ms]``."""

    # Lists of integers held the event loop twice as long: 5 ms for 5,000 points, decoded, checked and encoded.
    x: Coordinate
    y: Coordinate
    ms: Coordinate = cast(int, msgspec.field(default_factory=type(None)))
    """A missing time is None. It is no default of the schema: null in JSON is refused."""


def encode_strokes(strokes: Sequence[Sequence[Point]]) -> bytes:
    """Return strokes as canonical JSON (RFC 8785). Raises NotASignature if there are none or too many."""
    if len(strokes) > MAX_STROKES or sum(map(len, strokes)) > MAX_POINTS:
        raise NotASignature(f"At most {MAX_STROKES} strokes and {MAX_POINTS} points")
    if not strokes or not all(strokes):
        raise NotASignature("Each stroke needs a point")
    # Arrays of integers have one form. A point without a time ends with null, and nothing else contains a null.
    return msgspec.json.encode(strokes).replace(b",null]", b"]")
