"""The messages of a client on the socket: one Struct for each ``op``, decoded and checked like a request's body."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from engine.types import Cursor, Epoch, Zone
from server.schemas import fields, frames, jobs, positions, technicians
from server.schemas.decode import MAX_EXACT, Body

MAX_SUBS = 100
"""Subscriptions of one session, and of one ``connect``."""

RequestId = int | Annotated[str, Meta(max_length=64)]
Key = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$(?!\n)",
        description="a UUID, with dashes",
    ),
]
JobRef = Annotated[str, Meta(max_length=80)]
"""Not checked for form: an id that no job can have is ``not_found``, like any other job that is not there."""
Channel = Annotated[str, Meta(max_length=120)]


class Message(Body, kw_only=True, tag_field="op"):
    """One message from a client. With an ``id`` it is answered; ``op`` is the Struct's tag."""

    id: RequestId | None = None


class App(msgspec.Struct, forbid_unknown_fields=True):
    """Who wrote the client, for the logs; and which ``device`` it is (an installation, a browser's tab): a later socket
    of the same device takes the place of the earlier one.
    """

    name: Annotated[str, Meta(max_length=64)] = ""
    version: Annotated[str, Meta(max_length=64)] = ""
    device: Annotated[str, Meta(max_length=128)] = ""


class Place(Body, kw_only=True):
    """A cursor as a client gives it back."""

    epoch: Annotated[str, Meta(max_length=64)]
    seq: Annotated[int, Meta(ge=0, le=MAX_EXACT)]

    @property
    def cursor(self) -> Cursor:
        """As the engine takes it."""
        return Cursor(Epoch(self.epoch), self.seq)


class Connect(Message, tag="connect", kw_only=True):
    """Always the first. ``cursors`` are by zone; ``subs`` are restored before the replay; ``replaces`` is the session
    whose place this one takes.
    """

    token: fields.Token | None = None
    cursors: dict[Zone, Place] = field(default_factory=dict)
    subs: Annotated[list[Channel], Meta(max_length=MAX_SUBS)] = field(default_factory=list)
    app: App | None = None
    replaces: Annotated[str, Meta(max_length=64)] | None = None


class Ping(Message, tag="ping", kw_only=True):
    """Is somebody there: answered with the time and the number of logged pushes sent on this session."""


class Refresh(Message, tag="refresh", kw_only=True):
    """A fresh token of the same user: the session goes on under it."""

    token: fields.Token


class Subscribe(Message, tag="subscribe", kw_only=True):
    """Hear of a job's live events, or, for ops, of everything in a zone."""

    channel: Channel


class Unsubscribe(Message, tag="unsubscribe", kw_only=True):
    channel: Channel


class Claim(Message, tag="claim", kw_only=True):
    job: JobRef
    version: fields.Version | None = None
    key: Key | None = None
    trace: fields.Trace | None = None


class Decline(Message, tag="decline", kw_only=True):
    job: JobRef
    reason: fields.Reason | None = None
    key: Key | None = None
    trace: fields.Trace | None = None


class Command(jobs.Step, tag="command", tag_field="op", kw_only=True):
    """Any step of the job's blueprint."""

    id: RequestId | None = None
    job: JobRef
    command: fields.Id
    key: Key | None = None
    trace: fields.Trace | None = None


class SetAvailability(technicians.SetAvailability, tag="availability", tag_field="op", kw_only=True):
    id: RequestId | None = None
    key: Key | None = None


class Location(positions.Location, tag="location", tag_field="op", kw_only=True):
    """One fix, or up to 100. No reply unless it has an ``id``."""

    id: RequestId | None = None
    key: Key | None = None


Op = Connect | Ping | Refresh | Subscribe | Unsubscribe | Claim | Decline | Command | SetAvailability | Location

REPLIES: dict[type[Op], Any] = {
    Connect: frames.Connected,
    Ping: frames.Pong,
    Refresh: frames.Refreshed,
    Subscribe: frames.Subscribed,
    Unsubscribe: frames.Unsubscribed,
    Claim: frames.Done,
    Decline: frames.Done,
    Command: frames.Done,
    SetAvailability: frames.Available,
    Location: frames.Nothing,
}
"""The type of ``ok`` in the reply to each op."""

KINDS: dict[str, type[Op]] = {str(kind.__struct_config__.tag): kind for kind in REPLIES}
