"""Recognize the format of a photo by its content, not by its name, and strip its metadata."""

from __future__ import annotations

from engine.rules.photo_jpeg import START, strip_jpeg
from engine.rules.photo_png import SIGNATURE, strip_png
from engine.rules.photo_webp import strip_webp
from engine.rules.photos import PhotoRefused, Source, Steps

CONVERT = "Convert it to JPEG, PNG or WebP"


def strip_photo(data: Source) -> Steps:
    """Return the steps that strip a photo (:mod:`engine.rules.photos`). Raises PhotoRefused for other content."""
    head = data[:512]
    if head.startswith(START):
        return strip_jpeg(data)
    if head.startswith(SIGNATURE):
        return strip_png(data)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return strip_webp(data)
    raise PhotoRefused(f"{_unsupported_format(head)}. {CONVERT}")


def _unsupported_format(head: bytes) -> str:
    """Return the name of an unsupported format, for the message to the sender."""
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "A GIF image"
    if head[4:8] == b"ftyp":
        return "A HEIC or AVIF image, or a video"
    if b"<svg" in head.lower() or head.lstrip().startswith((b"<?xml", b"\xef\xbb\xbf<?xml")):
        return "An SVG image"
    return "Not an image that is known" if head else "An empty file"
