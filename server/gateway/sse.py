"""Server-sent events: the same payloads as on the socket. The id of each is the client's cursor after the event.

An EventSource stores one id and sends it back as
``Last-Event-ID``. So the id is the cursor of all zones: ``main:e1:131,north:e2:9``. It is the same for all clients that
were sent everything so far, so the bytes are built once and shared. Two kinds of blocks have ids of their own. The
events of a replay have them, because a replay begins at its client's cursor. If a client sent cursors of zones that
this gateway does not serve, all of its blocks have them, because these cursors stay in the client's id.

A block with an ``id`` and no ``data`` moves the id without an event. A stream without events is sent such blocks, as
its heads and as its ping.
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

MEDIA_TYPE = b"text/event-stream"
RETRY_RANGE_MS = (1_000, 5_000)
"""The range of the reconnect delay in ms, drawn for each stream: many streams that are cut at the same time must not
reconnect at the same time.
"""

_EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEQ = re.compile(r"[0-9]{1,16}")


class SseFrames(JsonFrames):
    """The encoder for event streams. A client sends no requests over a stream, so replies are not used."""

    subprotocol = "events"

    def __init__(self, payloads: PayloadEncoder, heads: Callable[[], Heads]) -> None:
        super().__init__(payloads)
        self._heads = heads

    def frame(self, payload: bytes) -> bytes:
        """Return ``payload`` as a block without an id: a push that is in no log does not move the cursor."""
        return b"data: %b\n\n" % _on_one_line(payload)

    def event_frame(self, payload: bytes) -> bytes:
        """Return the block of one event. The hub calls this for each event that the relay hands to it: then the zone
        heads are the cursor of every recipient.
        """
        return event_block(payload, cursor_text(self._heads()))

    def head_frames(self, heads: Iterable[tuple[Zone, Cursor]]) -> bytes:
        """Return ``heads`` as a block with an id and without an event."""
        return b"id: %b\n\n" % cursor_text(heads).encode()

    def heartbeat_frames(self, heads: Iterable[tuple[Zone, Cursor]]) -> bytes:
        """Return the same as ``head_frames``, without a ping: a client cannot answer a ping over a stream."""
        return self.head_frames(heads)


def event_block(payload: bytes, cursor: str) -> bytes:
    """Return the block of one event. ``cursor`` is the client's cursor after this event."""
    return b"id: %b\ndata: %b\n\n" % (cursor.encode(), _on_one_line(payload))


def add_to_id(block: bytes, cursor: str) -> bytes:
    """Return ``block``, a server-sent event that begins with an id, with ``cursor`` added to the id."""
    heads, _, rest = block.removeprefix(b"id: ").partition(b"\n")
    return b"id: %b\n%b" % (b",".join(filter(None, (heads, cursor.encode()))), rest)


def _on_one_line(payload: bytes) -> bytes:
    """Return ``payload`` without line breaks: a line break would end the field ``data``. In JSON it can only be white
    space between tokens.
    """
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")


def connect_block(content: dict[str, Any], cursor: str) -> bytes:
    """Return the first block of a stream: the content of the socket's reply to ``connect``, as an event named
    ``connect``.
    """
    parts = (b"retry: %d\n" % randint(*RETRY_RANGE_MS), b"id: %b\n" % cursor.encode(), b"event: connect\n")
    return b"".join((*parts, b"data: %b\n\n" % msgspec.json.encode(content)))


def close_block(code: int, reason: str) -> bytes:
    """Return the last block of a stream: the close code as on the socket, and the reconnect delay if the client should
    reconnect after this code.
    """
    content = msgspec.json.encode({"code": code, "reason": reason})
    retry = b"retry: %d\n" % randint(*RETRY_RANGE_MS) if code < Close.BAD_MESSAGES else b""
    return b"%bevent: close\ndata: %b\n\n" % (retry, content)


def cursor_text(heads: Iterable[tuple[Zone, Cursor]]) -> str:
    """Return the cursor of all given zones as text."""
    return ",".join(f"{zone}:{cursor.epoch}:{cursor.seq}" for zone, cursor in heads)


def parse_cursors(cursors: str, pointer: str) -> dict[Zone, Cursor]:
    """Return the cursors in the text ``cursors``, the reverse of ``cursor_text``; {} for "". Raises Invalid;
    ``pointer`` is the JSON pointer in that error.
    """
    found: dict[Zone, Cursor] = {}
    for part in cursors.split(",") if cursors else ():
        zone, epoch, seq = part.split(":") if part.count(":") == 2 else ("", "", "")
        if not (
            is_zone(zone) and _EPOCH.fullmatch(epoch) and _SEQ.fullmatch(seq) and int(seq) <= decode.MAX_EXACT_INTEGER
        ):
            raise Invalid(errors=[FieldError(pointer, "Expected a cursor: main:e1:131,north:e2:9")])
        if zone in found:
            raise Invalid(errors=[FieldError(pointer, f"Zone {zone} is given more than once")])
        found[Zone(zone)] = Cursor(Epoch(epoch), int(seq))
    return found
