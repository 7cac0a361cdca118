"""What is said on the socket, without any I/O: messages in, the meaning of a wrong one, and when to hang up.

::

    accepted --connect--> joining --ok--> live --close or loss--> closed
        ^                    |              |                       ^
        +--- refused --------+              +--drain--> leaving ----+   once the commands in hand are answered

(An expired token or used ticket leaves one more try, then 4003.)

A message is decoded once, by one compiled decoder, into the Struct of its ``op``. Only a message that it
refuses is looked at again, slowly, to say what is wrong with each field.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

import msgspec

from engine.errors import CalloutError, FieldError, Invalid, NotJson
from server.schemas.decode import NUL, convert_or_refuse, nul_errors
from server.schemas.ops import KINDS, Op

ERRORS, ERRORS_WITHIN_S = 10, 10.0
CONNECT_S = 10.0


class State(Enum):
    """See the picture above."""

    ACCEPTED = "accepted"
    JOINING = "joining"
    LIVE = "live"
    LEAVING = "leaving"
    CLOSED = "closed"


class Credentials:
    """What the handshake brought: tried at the first ``connect`` that brings none, then forgotten."""

    __slots__ = ("ticket", "token")

    def __init__(self, token: str | None, ticket: str | None) -> None:
        self.token = token
        self.ticket = ticket


class Close(IntEnum):
    """Close codes of PROTOCOL §4: below 4500 come back, from there on do not."""

    DRAINING = 4000
    TOO_SLOW = 4001
    NO_PONG = 4002
    TOKEN_EXPIRED = 4003
    RESYNCHRONISE = 4004
    REAUTHENTICATE = 4006
    TOO_MANY = 4010
    BAD_MESSAGES = 4500
    BAD_CREDENTIALS = 4501
    REVOKED = 4502
    NO_CONNECT = 4504
    REPLACED = 4505
    UPGRADE = 4506
    UNSUPPORTED = 1003
    TRY_AGAIN = 1013


_decoder: msgspec.json.Decoder[Op] = msgspec.json.Decoder(Op)
_packed_decoder: msgspec.msgpack.Decoder[Op] = msgspec.msgpack.Decoder(Op)
_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)
"""First bytes of a map in MessagePack."""


class Pong(Exception):
    """The message was the empty object, in some unusual spelling."""


class Wrong(Exception):
    """A message that means nothing. ``fatal``: it is no object, so there is no talking to this client. ``value``: it is
    a good frame of a known op, with a wrong value in it.
    """

    def __init__(
        self, error: CalloutError, request: int | str | None = None, *, fatal: bool = False, value: bool = False
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.request = request
        self.fatal = fatal
        self.value = value


def decode(raw: bytes) -> Op:
    """The message in ``raw`` JSON. Raises Wrong, with every wrong field, or Pong."""
    try:
        op = _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        op = _again(raw, error)
    return _whole(op, nul_errors(msgspec.json.decode(raw)) if NUL in raw else [])


def decode_packed(raw: bytes) -> Op:
    """The same of a message in MessagePack. What is wrong with one is looked for in the JSON that says the same."""
    try:
        op = _packed_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        first = error
    else:
        return _whole(op, nul_errors(msgspec.msgpack.decode(raw)) if b"\0" in raw else [])
    try:
        said = msgspec.json.encode(msgspec.msgpack.decode(raw))
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError) as error:
        raise Wrong(NotJson(str(error)), fatal=not raw or raw[0] not in _MAPS) from None
    return _whole(_again(said, first), [])


def _whole(op: Op, nul: list[FieldError]) -> Op:
    if errors := nul or op.wrong():
        raise Wrong(Invalid(errors=errors), op.id, value=True)
    return op


def _again(raw: bytes, first: Exception) -> Op:
    """A message that the compiled decoder refused, without what may be left out of it. Raises Wrong or Pong."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Wrong(NotJson(str(error)), fatal=not raw.lstrip().startswith(b"{")) from None
    if not isinstance(value, dict):
        raise Wrong(Invalid("A message is one object"), fatal=True)
    if not value:
        raise Pong
    return _of_op(value, FieldError("", str(first)))


def _of_op(value: dict[str, Any], first: FieldError) -> Op:
    asked = value.get("id")
    request = asked if isinstance(asked, (int, str)) and not isinstance(asked, bool) else None
    op = value.pop("op", None)
    if op is None:
        raise Wrong(Invalid(errors=[FieldError("/op", "Required")]), request)
    kind = KINDS.get(op) if isinstance(op, str) else None
    if kind is None:
        raise Wrong(Invalid("Unknown op", errors=[FieldError("/op", "Unknown op")]), request)
    try:
        return convert_or_refuse(kind, value, first)
    except Invalid as error:
        raise Wrong(error, request, value=True) from None


class Patience:
    """How many wrong frames a session has sent lately. Made at the first one: most sessions never need it."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: list[float] = []

    def is_over(self, now: float) -> bool:
        """Count one more at ``now`` (seconds of any steady clock); True at ten within ten seconds."""
        self._times = [time for time in self._times if now - time < ERRORS_WITHIN_S]
        self._times.append(now)
        return len(self._times) >= ERRORS
