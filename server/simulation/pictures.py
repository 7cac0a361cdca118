"""Photos that simulated people take of their work: small generated PNG files, with a wall, a floor and some things."""

from __future__ import annotations

import struct
import zlib
from random import Random

from server.simulation.person import Person

WIDTH, HEIGHT, FLOOR = 160, 120, 88
PHOTOS_OF_STEP = {"finish": 2}
"""How many photos a step needs: work of `managed` is finished with two."""
EXTRA_PHOTO_PROBABILITY = 0.3
"""The probability of a photo of work that needs no photo."""
THINGS = (3, 6)
Color = tuple[int, int, int]


async def take_photos(person: Person, job: str, step: str, rng: Random) -> None:
    """Upload the photos that a step needs, and sometimes one of other finished work. Raises Refusal or Unreachable."""
    extra = step == "complete" and rng.random() < EXTRA_PHOTO_PROBABILITY
    for _ in range(PHOTOS_OF_STEP.get(step, int(extra))):
        await person.account.upload(f"/v1/jobs/{job}/photos", draw_picture(rng))
        person.simulation.proofs.photos += 1


def draw_picture(rng: Random) -> bytes:
    """Return a PNG file: a wall in the light of a window, a floor, and some things before them. Two pictures differ."""
    wall, floor = _color(rng, 150, 225), _color(rng, 70, 130)
    rows = [bytearray(_shade(wall if y < FLOOR else floor, 1.1 - 0.3 * y / HEIGHT) * WIDTH) for y in range(HEIGHT)]
    for _ in range(rng.randint(*THINGS)):
        _draw_thing(rows, rng)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    pixels = b"".join(b"\0" + bytes(row) for row in rows)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _draw_thing(rows: list[bytearray], rng: Random) -> None:
    """Draw a box with a lighter edge, such as a pipe, a cupboard or a tool."""
    color, width, height = _color(rng, 30, 230), rng.randint(6, 60), rng.randint(6, 60)
    left, top = rng.randrange(WIDTH - width), rng.randrange(FLOOR + 20 - height)
    for y in range(top, top + height):
        edge = y < top + 2
        rows[y][3 * left : 3 * (left + width)] = _shade(color, 1.25 if edge else 1.0) * width


def _color(rng: Random, low: int, high: int) -> Color:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def _shade(color: Color, factor: float) -> bytes:
    return bytes(min(255, round(part * factor)) for part in color)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
