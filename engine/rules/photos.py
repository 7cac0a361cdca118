"""Strip the metadata of a photo without decoding it: the pixels stay exactly as they were sent.

The result keeps what a decoder needs to show the same pixels in the same colours, and the orientation. Positions,
times, makers, comments, thumbnails and all bytes after the end of the image are removed. Nothing is decompressed,
because a decoder that reads the files of strangers is a risk.

Each ``strip_…`` function is a generator that returns a :class:`Photo`. It yields after at most ``WINDOW_BYTES`` or a
few dozen parts, so that its caller can let other threads run. It raises PhotoRefused. The result lists parts of the
input and new bytes, so that the input is not copied.
"""

from __future__ import annotations

from collections.abc import Generator
from mmap import mmap
from typing import NamedTuple, NoReturn

MAX_BYTES = 8 * 1024 * 1024
"""The largest photo in bytes, as it is sent."""
MAX_PIXELS = 50_000_000
"""The most pixels, by the header: who shows a photo needs up to eight bytes for each."""
WINDOW_BYTES = 64 * 1024

Source = bytes | mmap
Steps = Generator[None, None, "Photo"]


class PhotoRefused(ValueError):
    """Raised for bytes that are not a complete JPEG, PNG or WebP image of a permitted size. The text is shown to the
    sender.
    """


class Span(NamedTuple):
    """A part of the input that is kept."""

    start: int
    end: int


class Photo(NamedTuple):
    """A photo without its metadata. The stripped file is the concatenation of ``parts``."""

    media: str
    width: int
    height: int
    parts: list[Span | bytes]


class Parts:
    """The parts of a stripped file. Adjacent spans are merged."""

    def __init__(self) -> None:
        self.parts: list[Span | bytes] = []

    def keep(self, start: int, end: int) -> None:
        """Keep a part of the input."""
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Span) and last.end == start:
            self.parts[-1] = Span(last.start, end)
        else:
            self.parts.append(Span(start, end))

    def add(self, new: bytes) -> None:
        """Add bytes that are not in the input."""
        self.parts.append(new)


def size_of(parts: list[Span | bytes]) -> int:
    """Return the size of a stripped file in bytes."""
    return sum(len(part) if isinstance(part, bytes) else part.end - part.start for part in parts)


def check_pixels(width: int, height: int) -> None:
    """Raise PhotoRefused for an image without pixels or with too many."""
    if not width or not height:
        raise PhotoRefused("The image has no pixels")
    if width * height > MAX_PIXELS:
        raise PhotoRefused(f"{width} x {height} pixels: at most {MAX_PIXELS // 1_000_000} megapixels")


def refuse_truncated() -> NoReturn:
    """Raise PhotoRefused for an image that ends too early."""
    raise PhotoRefused("The image is not whole")
