"""Photos are stripped without being decoded: pixels, colors and orientation stay. Pillow decodes the result."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from engine.rules import photo_jpeg
from engine.rules.photo_formats import strip_photo
from engine.rules.photos import Photo, PhotoRefused
from tests.files import pictures

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def strip(data: bytes) -> tuple[Photo, bytes]:
    """Return the photo and its stripped bytes."""
    steps = strip_photo(data)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            photo: Photo = done.value
            break
    parts = [part if isinstance(part, bytes) else data[part.start : part.end] for part in photo.parts]
    return photo, b"".join(parts)


GOOD: dict[str, Callable[[], bytes]] = {
    "baseline JPEG": lambda: pictures.jpeg(progressive=False),
    "progressive JPEG": pictures.jpeg,
    "JPEG with restarts": lambda: pictures.jpeg(restart_marker_blocks=2),
    "JPEG with a color profile": lambda: pictures.jpeg(icc_profile=ICC),
    "gray JPEG": lambda: pictures.encode(pictures.noise(mode="L"), "JPEG", exif=pictures.exif_bytes()),
    "CMYK JPEG": lambda: pictures.encode(pictures.noise(mode="CMYK"), "JPEG", exif=pictures.exif_bytes()),
    "PNG": pictures.png,
    "PNG with 16 bits": lambda: pictures.encode(Image.new("I;16", (40, 30), 7), "PNG", exif=pictures.exif_bytes()),
    "PNG with a palette": lambda: pictures.encode(pictures.noise().quantize(16), "PNG", exif=pictures.exif_bytes()),
    "animated PNG": lambda: pictures.encode(
        pictures.noise(), "PNG", save_all=True, append_images=[pictures.noise(seed=2)], exif=pictures.exif_bytes()
    ),
    "WebP": pictures.webp,
    "lossless WebP": lambda: pictures.webp(lossless=True),
    "WebP with alpha": lambda: pictures.webp(mode="RGBA"),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_pixels_stay_and_the_metadata_goes(name: str) -> None:
    """Pillow decodes the same pixels, colors and orientation from the stripped photo, and finds no other metadata in
    it.
    """
    data = GOOD[name]()
    photo, stripped = strip(data)
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(stripped))
    assert (photo.width, photo.height) == after.size == before.size
    assert after.mode == before.mode and after.tobytes() == before.tobytes()
    assert photo.media == Image.MIME[after.format or ""]
    assert dict(after.getexif()) == {0x0112: 6} and not after.getexif().get_ifd(0x8825)
    assert after.info.get("icc_profile") == before.info.get("icc_profile")
    assert not [secret for secret in pictures.SECRETS if secret in stripped] and b"script" not in stripped
    assert getattr(after, "n_frames", 1) == 1
    assert strip(stripped)[1] == stripped, "what is stripped stays as it is"


def corrupt(data: bytes, at: int, new: bytes) -> bytes:
    """Return ``data`` with the bytes ``new`` at an offset."""
    return data[:at] + new + data[at + len(new) :]


PLAIN = pictures.encode(pictures.noise(), "JPEG")
PNG = pictures.encode(pictures.noise(), "PNG")
WEBP = pictures.encode(pictures.noise(), "WEBP")
ONE = pictures.noise(16, 16)
BAD = {
    "empty": (b"", "An empty file"),
    "SVG named .jpg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "An SVG image. Convert"),
    "GIF": (pictures.encode(pictures.noise(), "GIF"), "A GIF image. Convert it to JPEG, PNG or WebP"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "text": (b"not an image at all", "Not an image"),
    "GIF before a JPEG": (b"GIF89a" + PLAIN, "A GIF image"),
    "bomb PNG": (pictures.bomb_png(), "60000 x 60000 pixels: at most 50 megapixels"),
    "bomb JPEG": (pictures.bomb_jpeg(), "60000 x 60000 pixels: at most 50 megapixels"),
    "no pixels": (pictures.bomb_png(0, 5), "no pixels"),
    "truncated JPEG": (PLAIN[:-40], "not whole"),
    "truncated in a header": (PLAIN[:30], "not whole"),
    "only the start": (PLAIN[:2], "not whole"),
    "start and end": (b"\xff\xd8\xff\xd9", "no pixels"),
    "scan before the frame": (b"\xff\xd8" + pictures.segment(0xDA, b"\1\1\0\0\x3f\0") + b"\0\xff\xd9", "no header"),
    "two frames": (PLAIN[:2] + pictures.segment(0xC0, b"\x08\0\x01\0\x01\x01\x01\x11\0") + PLAIN[2:], "wrong"),
    "lossless JPEG": (b"\xff\xd8" + pictures.segment(0xC3, b"\x08\0\x01\0\x01\x01\x01\x11\0"), "not supported"),
    "12 bits": (b"\xff\xd8" + pictures.segment(0xC1, b"\x0c\0\x01\0\x01\x01\x01\x11\0"), "12 bits"),
    "no marker": (b"\xff\xd8\xff" + b"\0" * 20, "damaged"),
    "a long fill": (b"\xff\xd8" + b"\xff" * 100 + PLAIN[2:], "not whole"),
    "too many segments": (b"\xff\xd8" + pictures.segment(0xFE, b"") * 3000, "too many parts"),
    "truncated PNG": (PNG[:-20], "not whole"),
    "PNG with a wrong checksum": (corrupt(PNG, len(PNG) // 2, b"\1\2\3"), "damaged"),
    "PNG without pixels": (PNG[:33] + pictures.png_chunk(b"IEND", b""), "no pixels"),
    "PNG with two headers": (PNG[:33] + PNG[8:], "damaged"),
    "PNG with an unknown critical chunk": (PNG[:33] + pictures.png_chunk(b"EVIL", b"") + PNG[33:], "damaged"),
    "PNG of a wrong color type": (
        PNG[:8] + pictures.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 3, 5, 0, 0, 0)) + PNG[33:],
        "header",
    ),
    "PNG with a length beyond its end": (corrupt(PNG, 33, b"\xff\xff\xff\xff"), "not whole"),
    "truncated WebP": (WEBP[:-9], "not whole"),
    "animated WebP": (
        pictures.encode(ONE, "WEBP", save_all=True, append_images=[pictures.noise(16, 16, seed=5)]),
        "still",
    ),
    "WebP without an image": (b"RIFF" + struct.pack("<I", 4) + b"WEBP", "no pixels"),
    "WebP of two images": (
        b"RIFF" + struct.pack("<I", len(WEBP) - 8 + len(WEBP) - 12) + b"WEBP" + WEBP[12:] * 2,
        "still",
    ),
    "WebP with a wrong header": (corrupt(WEBP, 23, b"\0\0\0"), "header"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_photo_is_refused(name: str) -> None:
    """The refusal tells the sender what is wrong."""
    data, why = BAD[name]
    with pytest.raises(PhotoRefused, match=why):
        strip(data)


SEEDS = [make() for make in GOOD.values()]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**20), st.binary(min_size=1, max_size=6), st.integers(0, 3))
def test_a_damaged_photo_is_stripped_or_refused(seed: bytes, at: int, new: bytes, cut: int) -> None:
    """No input raises another error. An accepted photo has no metadata and can be stripped again."""
    at %= len(seed)
    data = seed[:at] if cut == 0 else corrupt(seed, at, new)
    try:
        _, stripped = strip(data)
    except PhotoRefused:
        return
    assert strip(stripped)[1] == stripped


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8"
        + pictures.segment(0xC0, b"\x08\0\x10\0\x10\x01\x01\x11\0")
        + pictures.segment(0xDA, b"")
        + b"\xff" * 2**21,
        b"\xff\xd8"
        + pictures.segment(0xC0, b"\x08\0\x10\0\x10\x01\x01\x11\0")
        + pictures.segment(0xDA, b"")
        + b"\xff\0" * 2**20,
        b"\xff\xd8" + pictures.segment(0xFE, b"x" * 100) * 20_000,
        PNG[:33] + pictures.png_chunk(b"tEXt", b"") * 170_000,
        PNG[:33] + pictures.png_chunk(b"IDAT", bytes(2**21)) + pictures.png_chunk(b"IEND", b""),
        b"RIFF" + struct.pack("<I", 2**21 - 8) + b"WEBP" + (b"JUNK" + struct.pack("<I", 0)) * 2**18,
    ],
    ids=["fill", "stuffed", "segments", "chunks", "one chunk", "webp"],
)
def test_each_step_is_short_whatever_was_sent(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two yields little work is done, counted in bytes that the stripper takes or searches and not in
    seconds.
    """
    source, search = _Counted(data), photo_jpeg._next_marker

    def count_search(found: bytes, at: int, end: int) -> object:
        source.taken += end - at
        source.calls += 1
        return search(found, at, end)

    monkeypatch.setattr(photo_jpeg, "_next_marker", count_search)
    steps, longest, most = strip_photo(source), 0, 0  # type: ignore[arg-type]
    with suppress(PhotoRefused):
        while next(steps, "over") is None:
            longest, most = max(longest, source.taken), max(most, source.calls)
            source.taken = source.calls = 0
    assert max(longest, source.taken) < 300_000 and max(most, source.calls) < 250


class _Counted(bytes):
    """Bytes that count how much of them is read by slices."""

    taken = calls = 0

    def __getitem__(self, index: slice) -> bytes:  # type: ignore[override]
        found = super().__getitem__(index)
        self.taken += len(found)
        self.calls += 1
        return found
