"""The objects in the data of events as code reads them back from the log. ``EventJob`` is in job_document.py.

Each type has the members that any reader uses. A reader that needs the JSON of a member unchanged declares the member
as ``msgspec.Raw`` in its own view of the data, and decodes that JSON as a type of this module.
"""

from __future__ import annotations

import msgspec

from engine.rules.job_document import EventJob, Party
from engine.types import JobId, RoomId


class EventOffer(msgspec.Struct, frozen=True, kw_only=True):
    """The offer in the data of `offer.created` and `offer.updated`."""

    job: EventJob
    status: str
    wave: int
    offered_at: str
    expires_at: str


class EventBid(msgspec.Struct, frozen=True, kw_only=True):
    """The bid in the data of `bid.*` events."""

    id: str
    job: str
    technician: Party
    amount: int | None = None
    status: str


class EventPayment(msgspec.Struct, frozen=True, kw_only=True):
    """The payment in the data of `payment.*` events. A payment that a step of the job requested has no ``reference``
    yet.
    """

    id: str = ""
    status: str
    amount: int
    currency: str
    kind: str | None = None
    reference: str | None = None
    of: str | None = None
    held: int | None = None
    created_at: str = ""
    test: bool = False


class NotificationData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a ``notification`` event."""

    id: str
    kind: str
    title: str
    body: str
    job: JobId | None = None
    room: RoomId | None = None


class EventRoomMember(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a chat room in the data of `room.*` events. They read the messages above the number ``from_n``. The
    ``user`` of the same data has neither ``since`` nor ``from_n``.
    """

    id: str
    name: str
    role: str
    since: str = ""
    from_n: int = 0


class EventRoom(msgspec.Struct, frozen=True, kw_only=True):
    """The chat room in the data of `room.*` events. ``members`` of a large room are only some of them."""

    id: str
    job: str
    state: str
    n: int
    members: list[EventRoomMember] = []
    mediator_invited: bool = False
    opened_at: str
    closed_at: str | None = None


class EventMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The chat message in the data of `message.created`."""

    id: str
    room: str
    n: int
    sender: Party
    client_id: str
    at: str
