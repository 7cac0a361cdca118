"""Strip a JPEG file (ITU-T T.81, annex B): examine each segment, also those between the scans of a progressive
image.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from engine.rules.photo_orientation import orientation_tiff, read_orientation
from engine.rules.photos import WINDOW_BYTES, Parts, Photo, PhotoRefused, Source, Steps, check_pixels, refuse_truncated

START = b"\xff\xd8"
END, SCAN, APP0, APP1, APP2, APP14 = 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE
FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive frames with Huffman codes: what every program shows."""
OTHER_FRAMES = frozenset({*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC})
TABLES = frozenset({0xC4, 0xDB, 0xDC, 0xDD})
"""Huffman tables, quantization tables, number of lines, restart interval."""
MAX_SEGMENTS = 2_000
"""Beyond this, a file is no photo. A progressive image has about ten scans with a table each."""
MAX_FILL_BYTES = 16
SEGMENTS_PER_STEP = 32

_next_marker = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]").search
"""The next marker in the data of a scan that is neither a stuffed byte nor a restart."""


def strip_jpeg(data: Source) -> Steps:
    """Return a JPEG without its metadata. See :mod:`engine.rules.photos`."""
    walk, at = _SegmentWalk(data), len(START)
    walk.parts.keep(0, at)
    for count in range(MAX_SEGMENTS):
        marker, at = _read_marker(data, at)
        if marker == END:
            return walk.finish(at)
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end < at + 2 or end > len(data):
            refuse_truncated()
        walk.take_segment(marker, at, end)
        at = end
        if marker == SCAN:
            at = yield from _scan_end(data, end)
            walk.parts.keep(end, at)
        if count % SEGMENTS_PER_STEP == 0:
            yield
    raise PhotoRefused("The image has too many parts")


class _SegmentWalk:
    """The state of the walk through a file: the parts to keep, and what was found so far."""

    def __init__(self, data: Source) -> None:
        self.data, self.parts = data, Parts()
        self.size: tuple[int, int] | None = None
        self.scans = 0
        self.has_jfif = self.has_exif = False

    def take_segment(self, marker: int, at: int, end: int) -> None:
        """Keep or drop a segment. ``at`` is the offset of its length, which follows the two bytes of the marker."""
        if marker in FRAMES:
            self._read_frame(at, end)
        elif marker in OTHER_FRAMES:
            raise PhotoRefused("This kind of JPEG is not supported: convert it to baseline or progressive JPEG")
        elif marker == SCAN:
            if self.size is None:
                raise PhotoRefused("The image has no header")
            self.scans += 1
        elif marker not in TABLES:
            self._take_metadata(marker, at, end)
            return
        self.parts.keep(at - 2, end)

    def finish(self, at: int) -> Photo:
        """Return the photo. ``at`` is the offset after the end marker."""
        if self.size is None or not self.scans:
            raise PhotoRefused("The image has no pixels")
        self.parts.keep(at - 2, at)
        return Photo("image/jpeg", *self.size, self.parts.parts)

    def _read_frame(self, at: int, end: int) -> None:
        head = self.data[at + 2 : end]
        if self.size is not None or len(head) < 6 or len(head) != 6 + 3 * head[5] or head[5] not in (1, 3, 4):
            raise PhotoRefused("The header of the image is wrong")
        if head[0] != 8:
            raise PhotoRefused(f"{head[0]} bits for each color are not supported: convert it to 8 bits")
        height, width = int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:5], "big")
        check_pixels(width, height)
        self.size = width, height

    def _take_metadata(self, marker: int, at: int, end: int) -> None:
        """Keep the segments that say how the colors are coded. Read the orientation from the others, which are
        dropped.
        """
        content = self.data[at + 2 : min(end, at + 16)]
        if marker == APP0 and content.startswith(b"JFIF\0") and len(content) == 14 and not self.has_jfif:
            self.has_jfif = True
            self.parts.add(b"\xff\xe0\x00\x10" + content[:12] + b"\0\0")  # the segment is kept without its thumbnail
        elif (marker == APP14 and content.startswith(b"Adobe") and end - at == 14) or (
            marker == APP2 and content.startswith(b"ICC_PROFILE\0")
        ):
            self.parts.keep(at - 2, end)
        elif marker == APP1 and content.startswith(b"Exif\0\0") and not self.has_exif:
            self.has_exif = True
            tiff = orientation_tiff(read_orientation(self.data[at + 8 : end]))
            if tiff:
                exif = b"Exif\0\0" + tiff
                self.parts.add(b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif)


def _read_marker(data: Source, at: int) -> tuple[int, int]:
    """Return the marker at the offset ``at``, and the offset after it."""
    head = data[at : at + MAX_FILL_BYTES + 2]
    code = head.lstrip(b"\xff")
    if not code:
        refuse_truncated()
    fill = len(head) - len(code)
    if not fill or code[0] in (0x00, 0x01, 0xD8) or 0xD0 <= code[0] <= 0xD7:
        raise PhotoRefused("The image is damaged")
    return code[0], at + fill + 1


def _scan_end(data: Source, at: int) -> Generator[None, None, int]:
    """Return the end of the scan data that begins at the offset ``at``."""
    while True:
        end = min(at + WINDOW_BYTES, len(data))
        if found := _next_marker(data, at, end):
            return found.start()
        if end == len(data):
            refuse_truncated()
        at = end - 1  # a marker may lie across the border of two windows
        yield
