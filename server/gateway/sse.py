"""Server-sent events: the same frames as on the socket, each under the cursor that stands when it is handled.

An EventSource remembers one id and gives it back as ``Last-Event-ID``. So the id is the whole cursor, of all zones:
``main:e1:131,north:e2:9``. For one who was sent everything so far it is the same as for all others, so the bytes are
built once and shared; only a replay, which begins where its client stands, has ids of its own.

A block with an ``id`` and no ``data`` moves the id without an event: that is the head of a quiet stream, and its ping.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from random import randint
from typing import Any

import msgspec

from engine.errors import FieldError, Invalid
from engine.types import Cursor, Epoch, Zone, is_zone
from server.gateway.frames import JsonFrames, PayloadEncoder
from server.gateway.protocol import Close
from server.schemas import decode

Heads = list[tuple[Zone, Cursor]]

MEDIA = b"text/event-stream"
RETRY_MS = (1_000, 5_000)
"""When to come back, drawn for each stream: many that are cut at once must not come back at once."""

_EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEQ = re.compile(r"[0-9]{1,16}")


class SseFrames(JsonFrames):
    """Events as an event stream has them. Nothing is asked over a stream, so replies are never made."""

    subprotocol = "events"

    def __init__(self, payloads: PayloadEncoder, heads: Callable[[], Heads]) -> None:
        super().__init__(payloads)
        self._heads = heads

    def frame(self, payload: bytes) -> bytes:
        """What is in no log moves no cursor, so it has no id."""
        return b"data: %b\n\n" % _flat(payload)

    def event(self, payload: bytes) -> bytes:
        """One event at the moment of its hand-off, when the heads are the cursor of every recipient."""
        return message(payload, text_of(self._heads()))

    def heads(self, heads: Iterable[tuple[Zone, Cursor]]) -> bytes:
        """The heads as an id without an event."""
        return b"id: %b\n\n" % text_of(heads).encode()

    def heartbeat(self, heads: Iterable[tuple[Zone, Cursor]]) -> bytes:
        """The same: a stream cannot answer a ping."""
        return self.heads(heads)


def message(payload: bytes, cursor: str) -> bytes:
    """One event, under the cursor of who has handled it."""
    return b"id: %b\ndata: %b\n\n" % (cursor.encode(), _flat(payload))


def _flat(payload: bytes) -> bytes:
    """A line break in JSON can only be white space between its tokens, and would end the field."""
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")


def opening(told: dict[str, Any], cursor: str) -> bytes:
    """The first block: what the socket's reply to ``connect`` says, as an event of that name."""
    parts = (b"retry: %d\n" % randint(*RETRY_MS), b"id: %b\n" % cursor.encode(), b"event: connect\n")
    return b"".join((*parts, b"data: %b\n\n" % msgspec.json.encode(told)))


def farewell(code: int, reason: str) -> bytes:
    """The last block: the close code of the socket, and when to come back if it is worth it."""
    told = msgspec.json.encode({"code": code, "reason": reason})
    retry = b"retry: %d\n" % randint(*RETRY_MS) if code < Close.BAD_MESSAGES else b""
    return b"%bevent: close\ndata: %b\n\n" % (retry, told)


def text_of(heads: Iterable[tuple[Zone, Cursor]]) -> str:
    """A cursor of all zones as text."""
    return ",".join(f"{zone}:{cursor.epoch}:{cursor.seq}" for zone, cursor in heads)


def parse(text: str, pointer: str) -> dict[Zone, Cursor]:
    """The reverse of ``text_of``; "" is no cursor at all. Raises Invalid at ``pointer``."""
    found: dict[Zone, Cursor] = {}
    for part in text.split(",") if text else ():
        zone, epoch, seq = part.split(":") if part.count(":") == 2 else ("", "", "")
        if not (is_zone(zone) and _EPOCH.fullmatch(epoch) and _SEQ.fullmatch(seq) and int(seq) <= decode.MAX_EXACT):
            raise Invalid(errors=[FieldError(pointer, "Expected a cursor: main:e1:131,north:e2:9")])
        if zone in found:
            raise Invalid(errors=[FieldError(pointer, f"Zone {zone} is given more than once")])
        found[Zone(zone)] = Cursor(Epoch(epoch), int(seq))
    return found
