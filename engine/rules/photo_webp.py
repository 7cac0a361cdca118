"""Strip a WebP file (RFC 9649): keep the chunks of the still image and of its colors, and the orientation."""

from __future__ import annotations

from engine.rules.photo_orientation import orientation_tiff, read_orientation
from engine.rules.photos import Parts, Photo, PhotoRefused, Source, Steps, check_pixels, refuse_truncated, size_of

KEPT = frozenset({b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"})
IMAGES = frozenset({b"VP8 ", b"VP8L"})
ANIMATION_FLAG, EXIF_FLAG, XMP_FLAG = 0x02, 0x08, 0x04
MAX_CHUNKS = 64
MAX_EXIF_BYTES = 64 * 1024


def strip_webp(data: Source) -> Steps:
    """Return a WebP without its metadata. See :mod:`engine.rules.photos`."""
    kept = Parts()
    sizes: dict[bytes, tuple[int, int]] = {}
    header, tiff, at = b"", b"", 12
    riff_end = 8 + int.from_bytes(data[4:8], "little")
    if riff_end > len(data):
        refuse_truncated()
    for _ in range(MAX_CHUNKS):
        if at >= riff_end:
            break
        yield
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        if at + 8 + length > riff_end:
            refuse_truncated()
        content = data[at + 8 : at + 8 + min(length, MAX_EXIF_BYTES)]
        if kind in (b"ANIM", b"ANMF") or kind in sizes or (kind in KEPT and IMAGES & sizes.keys()):
            raise PhotoRefused("An animation or damaged: send a still image")
        if kind in KEPT:
            sizes[kind] = _size_in(kind, content)
        if kind == b"VP8X":
            header = content
        elif kind in KEPT:
            kept.keep(at, min(end, riff_end))
        elif kind == b"EXIF" and not tiff:
            tiff = orientation_tiff(read_orientation(content.removeprefix(b"Exif\0\0")))
        at = end
    else:
        raise PhotoRefused("The image has too many parts")
    return _assemble(kept, sizes, header, tiff)


def _assemble(kept: Parts, sizes: dict[bytes, tuple[int, int]], header: bytes, tiff: bytes) -> Photo:
    """Return the photo with a new header, which lists the chunks that were kept."""
    image = next(iter(IMAGES & sizes.keys()), None)
    if image is None:
        raise PhotoRefused("The image has no pixels")
    if header and sizes[b"VP8X"] != sizes[image]:
        raise PhotoRefused("The header of the image is wrong")
    parts: list[bytes] = []
    if header:
        flags = header[0] & ~(EXIF_FLAG | XMP_FLAG) | (EXIF_FLAG if tiff else 0)
        parts.append(_chunk(b"VP8X", bytes([flags]) + header[1:10]))
    tail = [_chunk(b"EXIF", tiff)] if tiff and header else []
    all_parts = [*parts, *kept.parts, *tail]
    size = 4 + size_of(all_parts)
    return Photo("image/webp", *sizes[image], [b"RIFF" + size.to_bytes(4, "little") + b"WEBP", *all_parts])


def _size_in(kind: bytes, content: bytes) -> tuple[int, int]:
    """Return the width and the height in a chunk's header; (0, 0) if the chunk has none."""
    if kind == b"VP8X":
        if len(content) != 10 or content[0] & ANIMATION_FLAG:
            raise PhotoRefused("An animation or damaged: send a still image")
        size = int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1
    elif kind == b"VP8 ":
        if len(content) < 10 or content[0] & 1 or content[3:6] != b"\x9d\x01\x2a":
            raise PhotoRefused("The header of the image is wrong")
        size = int.from_bytes(content[6:8], "little") & 0x3FFF, int.from_bytes(content[8:10], "little") & 0x3FFF
    elif kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        if len(content) < 5 or content[0] != 0x2F or bits >> 29:
            raise PhotoRefused("The header of the image is wrong")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        return 0, 0
    check_pixels(*size)
    return size


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)
