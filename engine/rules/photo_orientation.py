"""Read the orientation from the Exif metadata of a photo, and write metadata that contains only the orientation.

Exif 2.32, chapter 4.6: TIFF with the tag 0x0112 in its first directory. The values 2 to 8 say how to turn or mirror the
pixels; 1 means that they are shown as stored.
"""

from __future__ import annotations

import struct

ORIENTATION_TAG, SHORT = 0x0112, 3
MAX_ENTRIES = 256


def read_orientation(tiff: bytes) -> int:
    """Return the orientation of TIFF metadata, 1 to 8; 1 if it has none or is malformed."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return 1
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for index in range(min(count, MAX_ENTRIES)):
        at = directory + 2 + 12 * index
        if at + 12 > len(tiff):
            return 1
        tag, kind, number, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == ORIENTATION_TAG:
            return value if kind == SHORT and number == 1 and 1 <= value <= 8 else 1
    return 1


def orientation_tiff(orientation: int) -> bytes:
    """Return TIFF metadata that contains only the orientation; b"" for 1."""
    if orientation == 1:
        return b""
    return struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, ORIENTATION_TAG, SHORT, 1, orientation, 0, 0)
