"""Bodies of requests that are built to keep a server busy: photos, signatures and JSON. Each has the largest size that
its route accepts.
"""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from engine.rules import photos
from engine.rules.signature_image import MAX_IMAGE_BYTES
from server.http.throttle import MAX_BODY_BYTES
from server.schemas.vault import SIGN_BODY_BYTES


class HostileRequest(NamedTuple):
    """A request: ``path`` may contain ``{job}``. The body of an upload is an image."""

    name: str
    path: str
    body: bytes
    is_upload: bool = False


def hostile_requests() -> list[HostileRequest]:
    """Return all requests, the uploads first."""
    uploads = [HostileRequest(name, "/v1/files?for=job:{job}", make(), is_upload=True) for name, make in PHOTOS.items()]
    signatures = [HostileRequest(name, "/v1/jobs/{job}/sign", make()) for name, make in SIGNATURES.items()]
    texts = [HostileRequest(name, path, make()) for name, (path, make) in TEXTS.items()]
    return [*uploads, *signatures, *texts]


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(*chunks: bytes, size: int = photos.MAX_BYTES) -> bytes:
    """Return a PNG with these chunks, the last one repeated until the file has ``size`` bytes, and then the pixels and
    the end chunk.
    """
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    end = png_chunk(b"IDAT", zlib.compress(bytes(65 * 64))) + png_chunk(b"IEND")
    fixed = start + b"".join(chunks[:-1])
    return fixed + chunks[-1] * ((size - len(fixed) - len(end)) // len(chunks[-1])) + end


def _jpeg(segments: bytes, data: bytes) -> bytes:
    """Return a JPEG with these segments, and then a scan with ``data`` as its compressed pixels."""
    frame = _segment(0xC0, b"\x08\0\x40\0\x40\x01\x01\x11\0")
    scan = _segment(0xDA, b"\1\1\0\0\x3f\0")
    return b"\xff\xd8" + segments + frame + scan + data + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def _webp(chunk: bytes) -> bytes:
    body = b"WEBP" + chunk * ((photos.MAX_BYTES - 12) // len(chunk))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _random_bytes(size: int) -> bytes:
    return random.Random(1).randbytes(size)


_FILL_BYTES = photos.MAX_BYTES - 4096
PHOTOS: dict[str, Callable[[], bytes]] = {
    "a good photo of 8 MiB": lambda: (
        _png(png_chunk(b"IDAT", _random_bytes(_FILL_BYTES)), size=0)[:-12] + png_chunk(b"IEND")
    ),
    "PNG of empty chunks": lambda: _png(png_chunk(b"tEXt")),
    "PNG of empty pixels": lambda: _png(png_chunk(b"IDAT")),
    "JPEG of stuffed bytes": lambda: _jpeg(b"", b"\xff\0" * (_FILL_BYTES // 2)),
    "JPEG of fill bytes": lambda: _jpeg(b"", b"\xff" * _FILL_BYTES),
    "JPEG of restarts": lambda: _jpeg(b"", b"\xff\xd0" * (_FILL_BYTES // 2)),
    "JPEG of empty segments": lambda: _jpeg(_segment(0xFE, b"") * (_FILL_BYTES // 4), b"\0"),
    "JPEG of Exif": lambda: _jpeg(_segment(0xE1, b"Exif\0\0II*\0" + b"\xff" * 65_000) * (_FILL_BYTES // 65_014), b"\0"),
    "WebP of empty chunks": lambda: _webp(b"JUNK" + bytes(4)),
    "zeros": lambda: bytes(_FILL_BYTES),
}
_JSON_HEAD = b'{"sha256":"' + b"0" * 64 + b'","name":"Carla"'


def _image_signature_body(image: bytes) -> bytes:
    return _JSON_HEAD + b',"image":"' + base64.b64encode(image) + b'"}'


def _strokes_signature_body(strokes: bytes) -> bytes:
    return _JSON_HEAD + b',"strokes":' + strokes + b"}"


_POINTS = b"[" + b"[1000000,1000000,1000000]," * 4_999 + b"[1,2,3]]"
SIGNATURES: dict[str, Callable[[], bytes]] = {
    "signature of empty chunks": lambda: _image_signature_body(_png(png_chunk(b"tEXt"), size=MAX_IMAGE_BYTES)),
    "signature of 256 KiB": lambda: _image_signature_body(
        _png(png_chunk(b"IDAT", _random_bytes(8192)), size=MAX_IMAGE_BYTES - 8192)
    ),
    "5,000 points": lambda: _strokes_signature_body(b"[" + _POINTS + b"]"),
    "60,000 points": lambda: _strokes_signature_body(b"[[" + b"[1,2]," * 60_000 + b"[1,2]]]"),
    "180,000 numbers": lambda: _strokes_signature_body(b"[[[" + b"1," * 180_000 + b"1]]]"),
    "deep strokes": lambda: _strokes_signature_body(b"[" * (SIGN_BODY_BYTES - 200)),
    "a name of escapes": lambda: b'{"name":"' + b"\\u0041" * 60_000 + b'"}',
}


def _booking_body(metadata: bytes) -> bytes:
    return b'{"service":"srv_1","lat":1,"lon":2,"address":"x","metadata":' + metadata + b"}"


_LIST_ITEMS = (MAX_BODY_BYTES - 200) // 2
TEXTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "20,000 empty objects": ("/v1/jobs/{job}/commands", lambda: b'{"items":[' + b"{}," * 20_000 + b"{}]}"),
    "unknown fields": ("/v1/jobs", lambda: msgspec.json.encode({f"f{number}": 0 for number in range(6_000)})),
    "metadata of numbers": ("/v1/jobs", lambda: _booking_body(b'{"a":[' + b"0," * _LIST_ITEMS + b"0]}")),
    "metadata with NUL": ("/v1/jobs", lambda: _booking_body(b'{"a":["\\u0000"' + b",0" * (_LIST_ITEMS - 20) + b"]}")),
    "backslashes": ("/v1/jobs", lambda: _booking_body(b'{"a":"' + b"\\\\" * (_LIST_ITEMS - 20) + b'"}')),
    "wrong types": ("/v1/jobs", lambda: b'{"lat":[' + b'"a",' * (_LIST_ITEMS // 2) + b"0]}"),
    "10,000 parameters": ("/v1/jobs?" + "a&" * 10_000, lambda: b"{}"),
}
