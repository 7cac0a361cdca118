"""Fold the events that attach files (a pure function); engine/archive/file_rows.py writes the result."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.events import Event

Row = dict[str, Any]


class _File(msgspec.Struct):
    id: str


class _FileData(msgspec.Struct):
    file: _File


class _Message(msgspec.Struct):
    n: int
    files: list[_File | str] = []


class _MessageData(msgspec.Struct):
    message: _Message


_file_decoder = msgspec.json.Decoder(_FileData)
_message_decoder = msgspec.json.Decoder(_MessageData)


def fold_files(attached: dict[str, Row], event: Event) -> None:
    """Add the files that an event attached to ``attached``, by their ids. Raises msgspec.DecodeError."""
    if event.type == "file.added":
        name = _file_decoder.decode(event.data).file.id
        attached[name] = {"file": name, "at": event.at, "number": None}
    elif event.type == "message.created" and b'"files":[]' not in event.data:
        message = _message_decoder.decode(event.data).message
        for file in message.files:
            if isinstance(file, _File):
                attached[file.id] = {"file": file.id, "at": event.at, "number": message.n}
