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
    """A child's message to the parent: the child serves now."""


class Failed(msgspec.Struct, tag="failed"):
    """A child's message to the parent: the child could not start. ``is_temporary``: Redis did not answer."""

    text: str
    is_temporary: bool


class Question(msgspec.Struct, tag="question"):
    """A child's question to the parent about the whole server: is it ready, or what are its metrics?"""

    id: int
    subject: Subject


class Report(msgspec.Struct, tag="report"):
    """A child's answer to ``ReportRequest``: its own problems or its own metrics."""

    id: int
    problems: list[str] = []
    families: list[Family] = []


class ReportRequest(msgspec.Struct, tag="report_request"):
    """The parent's request to a child to report its problems or its metrics."""

    id: int
    subject: Subject


class Answer(msgspec.Struct, tag="answer"):
    """The parent's answer to a child's ``Question``: the problems or the metrics of all processes."""

    id: int
    problems: list[str] = []
    metrics: bytes = b""


class Stop(msgspec.Struct, tag="stop"):
    """The parent's message to a child that the whole server stops. ``is_abandoned``: its Valkey has ended."""

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
