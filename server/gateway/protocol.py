"""The protocol of the socket, without any I/O: decoding of messages, errors of wrong messages, states, close codes.

::

    accepted --connect--> joining --ok--> live --close or loss--> closed
        ^                    |              |                       ^
        +--- refused --------+              +--drain--> leaving ----+   once the running commands are answered

(After an expired token or a used ticket, the client has one more attempt. A second one closes with 4003.)

One compiled decoder decodes a message once, into the Struct of its ``op``. Only a message that this decoder
refuses is decoded again, slowly, to find what is wrong with each field.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

import msgspec

from engine.errors import CalloutError, FieldError, Invalid, NotJson
from server.schemas.decode import convert_or_refuse
from server.schemas.json_text import find_nul, is_large
from server.schemas.ops import OP_STRUCTS, Op

MAX_WRONG_FRAMES, WRONG_FRAMES_WITHIN_S = 10, 10.0
CONNECT_TIMEOUT_S = 10.0


class State(Enum):
    """The state of a session: see the diagram at the top of this module."""

    ACCEPTED = "accepted"
    JOINING = "joining"
    LIVE = "live"
    LEAVING = "leaving"
    CLOSED = "closed"


class Credentials:
    """The token or ticket of a WebSocket's handshake. The first ``connect`` without credentials uses them once, and
    then they are dropped.
    """

    __slots__ = ("ticket", "token")

    def __init__(self, token: str | None, ticket: str | None) -> None:
        self.token = token
        self.ticket = ticket


class Close(IntEnum):
    """The close codes of PROTOCOL §4. After a code below 4500 the client reconnects, from 4500 on it does not."""

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


_json_decoder: msgspec.json.Decoder[Op] = msgspec.json.Decoder(Op)
_msgpack_decoder: msgspec.msgpack.Decoder[Op] = msgspec.msgpack.Decoder(Op)
_MSGPACK_MAP_FIRST_BYTES = (*range(0x80, 0x90), 0xDE, 0xDF)
"""First bytes of a map in MessagePack."""


class EmptyObject(Exception):
    """Raised when the message is the empty object (a pong), written in an unusual way, for example with white space."""


class WrongMessage(Exception):
    """Raised for a message that is not valid. ``request`` is the message's ``id``, None where it has none. ``fatal``:
    the message is not an object, so the connection is closed. ``wrong_value``: the message is a well-formed frame of
    a known op, but one of its values is wrong.
    """

    def __init__(
        self,
        error: CalloutError,
        request: int | str | None = None,
        *,
        fatal: bool = False,
        wrong_value: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.request = request
        self.fatal = fatal
        self.wrong_value = wrong_value


def decode(raw: bytes) -> Op:
    """Return the message that ``raw`` contains as JSON. Raises WrongMessage, with every wrong field, or
    EmptyObject.
    """
    try:
        op = _json_decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        op = _decode_slowly(raw, error)
    return _check_values(op, find_nul(raw))


def decode_msgpack(raw: bytes) -> Op:
    """Return the message that ``raw`` contains as MessagePack. A message with an error is converted to JSON, and the
    errors are found in that JSON. Raises the same errors as ``decode``.
    """
    try:
        op = _msgpack_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        first = error
    else:
        return _check_values(op, find_nul(msgspec.json.encode(msgspec.msgpack.decode(raw))) if b"\0" in raw else [])
    try:
        as_json = msgspec.json.encode(msgspec.msgpack.decode(raw))
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError) as error:
        raise WrongMessage(NotJson(str(error)), fatal=not raw or raw[0] not in _MSGPACK_MAP_FIRST_BYTES) from None
    return _check_values(_decode_slowly(as_json, first), [])


def _check_values(op: Op, nul: list[FieldError]) -> Op:
    """Return ``op`` if its values are valid and contain no NUL (``nul``: the fields that do). Raises WrongMessage."""
    if errors := nul or op.find_errors():
        raise WrongMessage(Invalid(errors=errors), op.id, wrong_value=True)
    return op


def _decode_slowly(raw: bytes, first_error: Exception) -> Op:
    """Return a message that the compiled decoder refused, without the parts that may be dropped if they are wrong
    (``omit_wrong_parts``). Raises WrongMessage or EmptyObject. ``first_error`` is the compiled decoder's error.
    """
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WrongMessage(NotJson(str(error)), fatal=not raw.lstrip().startswith(b"{")) from None
    if not isinstance(value, dict):
        raise WrongMessage(Invalid("A message is one object"), fatal=True)
    if not value:
        raise EmptyObject
    if is_large(raw):
        raise WrongMessage(Invalid("Too many values, and a wrong one", errors=[FieldError("", str(first_error))]))
    return _decode_as_op(value, FieldError("", str(first_error)))


def _decode_as_op(message: dict[str, Any], first_error: FieldError) -> Op:
    """Return the decoded object as the Struct of its ``op``. Raises WrongMessage with every wrong field, or with
    ``first_error`` if no field is wrong.
    """
    asked = message.get("id")
    request = asked if isinstance(asked, (int, str)) and not isinstance(asked, bool) else None
    op = message.pop("op", None)
    if op is None:
        raise WrongMessage(Invalid(errors=[FieldError("/op", "Required")]), request)
    kind = OP_STRUCTS.get(op) if isinstance(op, str) else None
    if kind is None:
        raise WrongMessage(Invalid("Unknown op", errors=[FieldError("/op", "Unknown op")]), request)
    try:
        return convert_or_refuse(kind, message, first_error)
    except Invalid as error:
        raise WrongMessage(error, request, wrong_value=True) from None


class WrongFrameCounter:
    """The times of a session's wrong frames in the last ten seconds. It is created at the first wrong frame, because
    most sessions never send one.
    """

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: list[float] = []

    def count_wrong_frame(self, now: float) -> bool:
        """Count one wrong frame at ``now`` (seconds of any monotonic clock). Return True at the tenth wrong frame
        within ten seconds.
        """
        self._times = [time for time in self._times if now - time < WRONG_FRAMES_WITHIN_S]
        self._times.append(now)
        return len(self._times) >= MAX_WRONG_FRAMES
