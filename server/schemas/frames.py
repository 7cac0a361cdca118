"""Replies on the socket and the special events of a stream, for ``/asyncapi.json``. The events of the log are in
server/schemas/payloads.py.

These types encode nothing: server/gateway/ops.py makes the replies. They document the replies, and the tests decode
each reply as the type that server/schemas/ops.py names for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from engine.rules.fixes import FixRate
from engine.types import Role
from server.schemas.about import Poll
from server.schemas.jobs import Job, StepReply
from server.schemas.objects import Shape
from server.schemas.presence import Presence
from server.schemas.rooms import Message, Room
from server.schemas.technicians import Availability


class ZoneState(Shape):
    """The start of the session in a zone. If ``recovered`` is true, ``missed`` events follow. If not, ``reason`` is why
    the server cannot send the missed events.
    """

    epoch: str
    seq: int
    recovered: bool
    missed: int | None = None
    reason: Literal["too_old", "epoch"] | None = None


class SessionUser(Shape):
    """The user of the session."""

    id: str
    role: Role


class RefusedChannel(Shape):
    """A channel of ``subs`` that the caller may not receive, and the error code."""

    channel: str
    code: str


class ConnectReply(Shape):
    session: str
    user: SessionUser
    now: datetime
    expires_in: int | None
    ping: float
    pong: float
    zones: dict[str, ZoneState]
    poll: Poll
    fix: FixRate
    online: bool | None = None
    clock_offset_s: float | None = None
    subs: list[str] | None = None
    refused: list[RefusedChannel] | None = None


class StreamStart(ConnectReply, kw_only=True):
    """The first event of a stream, ``connect``: as the reply on the socket, plus one ``recovered`` for all zones."""

    recovered: bool
    reason: Literal["too_old", "epoch"] | None = None


class StreamEnd(Shape):
    """The last event of a stream, ``close``, if it can be sent. ``code`` is the close code that a socket would get."""

    code: int
    reason: str


class Pong(Shape):
    now: datetime
    n: int


class RefreshReply(Shape):
    expires_in: int | None


class SubscribeReply(Shape):
    """The present state of what was subscribed. Events of a job or a zone arrive from ``seq`` of ``zone`` on."""

    channel: str
    zone: str | None = None
    seq: int | None = None
    job: Job | None = None
    epoch: str | None = None
    presence: Presence | None = None


class UnsubscribeReply(Shape):
    channel: str


CreatedKey = Annotated[str | None, Meta(description="if the server made it")]
"""The idempotency key of an op, in its reply. None if the client sent the key."""


class SocketStepReply(StepReply):
    """The reply to a step on a job: the same as over HTTP, and the seq of the step's event."""

    seq: int | None = None
    repeated: bool = False
    key: CreatedKey = None


class SocketAvailabilityReply(Availability):
    """The reply to ``availability``: the same as over HTTP."""

    repeated: bool = False
    key: CreatedKey = None


class JoinReply(Shape):
    """The reply to ``join``: the room and its last messages, the oldest first. Both are current up to ``seq``."""

    room: Room
    messages: list[Message]
    seq: int


class RoomRef(Shape):
    """The reply to an op that changes nothing but this connection."""

    room: str


class SayReply(Shape):
    """The reply to ``say``: the message as all members receive it, and the seq of its event."""

    message: Message
    seq: int
    repeated: bool = False


class ReadReply(Shape):
    """The reply to ``read``: ``n`` is the number of the last message that the caller has read."""

    n: int
    seq: int


class LocationReply(Shape):
    """Empty if nothing is wrong. Otherwise as ``FixReport``: the technician is offline and receives no offers, or the
    device's clock is wrong by more than 30 s.
    """

    online: bool | None = None
    clock_offset_s: float | None = None


class Head(Shape):
    """The position of one zone: the server has sent every event up to ``seq`` that is addressed to the receiver."""

    zone: str
    epoch: str
    seq: int
