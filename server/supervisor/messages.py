"""The messages between a server's parent process and its children: msgpack, each after its length in four bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

import msgspec

from engine.process.metric_sums import Family

LENGTH = struct.Struct(">I")

Subject = Literal["readiness", "metrics"]


class Ready(msgspec.Struct, tag="ready"):
    """From a child: it serves."""


class Failed(msgspec.Struct, tag="failed"):
    """From a child: it could not start. ``is_temporary``: because Redis did not answer."""

    text: str
    is_temporary: bool


class Question(msgspec.Struct, tag="question"):
    """From a child: how is the whole server?"""

    id: int
    subject: Subject


class Report(msgspec.Struct, tag="report"):
    """From a child: how it is, in answer to ``ReportRequest``."""

    id: int
    problems: list[str] = []
    families: list[Family] = []


class ReportRequest(msgspec.Struct, tag="report_request"):
    """From the parent: how are you?"""

    id: int
    subject: Subject


class Answer(msgspec.Struct, tag="answer"):
    """From the parent: how the whole server is, in answer to ``Question``."""

    id: int
    problems: list[str] = []
    metrics: bytes = b""


class Stop(msgspec.Struct, tag="stop"):
    """From the parent: the whole server stops. ``is_abandoned``: because its Valkey has ended."""

    is_abandoned: bool = False


FromChild = Ready | Failed | Question | Report
FromParent = ReportRequest | Answer | Stop

_child_decoder: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)
_parent_decoder: msgspec.msgpack.Decoder[FromParent] = msgspec.msgpack.Decoder(FromParent)


def encode(message: FromChild | FromParent) -> bytes:
    """Return a message as it is sent."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def decode_from_parent(body: bytes) -> FromParent:
    """Return a message from its bytes after the length."""
    return _parent_decoder.decode(body)


def take_from_child(received: bytearray) -> Iterator[FromChild]:
    """Remove the complete messages from ``received`` and yield them."""
    while len(received) >= LENGTH.size:
        end = LENGTH.size + LENGTH.unpack_from(received)[0]
        if len(received) < end:
            return
        body = bytes(received[LENGTH.size : end])
        del received[:end]
        yield _child_decoder.decode(body)
