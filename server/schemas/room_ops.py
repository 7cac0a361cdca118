"""The messages of a client on the socket about chat rooms."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.schemas import fields
from server.schemas.op_message import Key, Message, RequestId
from server.schemas.rooms import NewMessage, Number

RoomId = Annotated[str, Meta(max_length=80)]
"""An id of a room. Its form is not checked: a malformed id is ``not_found``, as an unknown id is."""


class JoinRoom(Message, tag="join", kw_only=True):
    """Open a room on this connection: the reply has the room and its last 50 messages, and the connection receives who
    is typing.
    """

    room: RoomId
    trace: fields.Trace | None = None


class LeaveRoom(Message, tag="leave", kw_only=True):
    """Stop receiving who is typing in a room. Its messages still come, as to every connection of a member."""

    room: RoomId


class Say(NewMessage, tag="say", tag_field="op", kw_only=True):
    """Say a message in a room. The same ``client_id`` again stores nothing and returns the first message."""

    id: RequestId | None = None
    room: RoomId
    key: Key | None = None
    trace: fields.Trace | None = None


class Typing(Message, tag="typing", kw_only=True):
    """Tell the other members who have the room open that the caller types, or stopped."""

    room: RoomId
    on: bool


class ReadMessages(Message, tag="read", kw_only=True):
    """Move the caller's read mark forward to message ``n``. A repeat changes nothing, with or without a ``key``."""

    room: RoomId
    n: Number
    key: Key | None = None
    trace: fields.Trace | None = None
