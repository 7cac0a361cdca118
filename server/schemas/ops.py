"""The messages of a client on the socket: one Struct for each ``op``, decoded and checked as a request's body is."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from engine.errors import FieldError
from engine.rules.boxes import MapBox, ShownLayer, box_problem
from engine.types import Cursor, Epoch, Zone
from server.schemas import fields, frames, jobs, positions, technicians
from server.schemas.decode import MAX_EXACT_INTEGER, Body
from server.schemas.op_message import Key, Message, RequestId
from server.schemas.presence import Presences
from server.schemas.room_ops import JoinRoom, LeaveRoom, ReadMessages, Say, Typing

MAX_SUBS = 100
"""The most subscriptions of one session, and in one ``connect``."""
MAP_EVERY_S = 1.0
"""The shortest time between two frames of a map, unless the client asks for another."""

JobRef = Annotated[str, Meta(max_length=80)]
"""An id of a job. Its form is not checked: a malformed id is ``not_found``, as an unknown id is."""
Channel = Annotated[str, Meta(max_length=120)]


class App(msgspec.Struct, forbid_unknown_fields=True):
    """A client's program, for the logs, and its ``device`` (an installation, or a tab of a browser). A later socket of
    the same device replaces the earlier one.
    """

    name: Annotated[str, Meta(max_length=64)] = ""
    version: Annotated[str, Meta(max_length=64)] = ""
    device: Annotated[str, Meta(max_length=128)] = ""


class Place(Body, kw_only=True):
    """A cursor that the server sent and the client sends back."""

    epoch: Annotated[str, Meta(max_length=64)]
    seq: Annotated[int, Meta(ge=0, le=MAX_EXACT_INTEGER)]

    @property
    def cursor(self) -> Cursor:
        """Return the cursor in the engine's type."""
        return Cursor(Epoch(self.epoch), self.seq)


class Subscription(Body, kw_only=True):
    """A channel. For `map:<zone>` also what to show of the map: the box `bbox` (west, south, east and north in
    degrees), the layers, and at most one frame in `every_s` seconds.
    """

    channel: Channel
    bbox: Annotated[list[float], Meta(min_length=4, max_length=4)] | None = None
    layers: Annotated[list[ShownLayer], Meta(min_length=1, max_length=3)] | None = None
    every_s: Annotated[float, Meta(ge=0.5, le=3600)] | None = None

    def find_errors(self) -> list[FieldError]:
        options = {"/bbox": self.bbox, "/layers": self.layers, "/every_s": self.every_s}
        if not self.channel.startswith("map:"):
            return [FieldError(at, "Only for map:<zone>") for at, value in options.items() if value is not None]
        problem = "Required" if self.bbox is None else box_problem(MapBox(*self.bbox))
        return [FieldError("/bbox", problem)] if problem else []


class Connect(Message, tag="connect", kw_only=True):
    """Authenticate and start the session: the first message on a socket. ``cursors`` are by zone. ``subs`` are
    channels, or objects as in `subscribe`; they are subscribed before missed events are replayed. ``replaces`` is the
    id of the session that the new one replaces.
    """

    token: fields.Token | None = None
    cursors: dict[Zone, Place] = field(default_factory=dict)
    subs: Annotated[list[Channel | Subscription], Meta(max_length=MAX_SUBS)] = field(default_factory=list)
    app: App | None = None
    replaces: Annotated[str, Meta(max_length=64)] | None = None


class Ping(Message, tag="ping", kw_only=True):
    """Check the connection. The reply has the time and the number of logged pushes sent on this session."""


class Refresh(Message, tag="refresh", kw_only=True):
    """Continue the session with a new access token of the same user."""

    token: fields.Token


class Subscribe(Subscription, tag="subscribe", tag_field="op", kw_only=True):
    """Receive the live events of a job, the presence of a user or, for ops, all events of a zone, or its map."""

    id: RequestId | None = None


class WatchPresence(Message, tag="presence", kw_only=True):
    """Read whether users are online, and receive each change as long as the session lasts. Users whose presence the
    caller may not know are left out. A session watches at most 100 users.
    """

    users: Annotated[list[fields.Id], Meta(min_length=1, max_length=100)]


class Unsubscribe(Message, tag="unsubscribe", kw_only=True):
    """Stop receiving the events of a channel."""

    channel: Channel


class Claim(Message, tag="claim", kw_only=True):
    """Claim an offered job."""

    job: JobRef
    version: fields.Version | None = None
    key: Key | None = None
    trace: fields.Trace | None = None


class Decline(Message, tag="decline", kw_only=True):
    """Decline an offered job."""

    job: JobRef
    reason: fields.MediumText | None = None
    key: Key | None = None
    trace: fields.Trace | None = None


class Command(jobs.Step, tag="command", tag_field="op", kw_only=True):
    """Take a step of the job's blueprint."""

    id: RequestId | None = None
    job: JobRef
    command: fields.Id
    key: Key | None = None
    trace: fields.Trace | None = None


class SetAvailability(technicians.SetAvailability, tag="availability", tag_field="op", kw_only=True):
    """Go online or offline as a technician."""

    id: RequestId | None = None
    key: Key | None = None


class Location(positions.Location, tag="location", tag_field="op", kw_only=True):
    """Send one fix, or up to 100. There is a reply only if the message has an ``id``."""

    id: RequestId | None = None
    key: Key | None = None


Op = (
    Connect
    | Ping
    | Refresh
    | Subscribe
    | Unsubscribe
    | WatchPresence
    | Claim
    | Decline
    | Command
    | SetAvailability
    | Location
    | JoinRoom
    | LeaveRoom
    | Say
    | Typing
    | ReadMessages
)

REPLIES: dict[type[Op], Any] = {
    Connect: frames.ConnectReply,
    Ping: frames.Pong,
    Refresh: frames.RefreshReply,
    Subscribe: frames.SubscribeReply,
    Unsubscribe: frames.UnsubscribeReply,
    WatchPresence: Presences,
    Claim: frames.SocketStepReply,
    Decline: frames.SocketStepReply,
    Command: frames.SocketStepReply,
    SetAvailability: frames.SocketAvailabilityReply,
    Location: frames.LocationReply,
    JoinRoom: frames.JoinReply,
    LeaveRoom: frames.RoomRef,
    Say: frames.SayReply,
    Typing: frames.RoomRef,
    ReadMessages: frames.ReadReply,
}
"""The type of ``ok`` in the reply to each op."""

OP_STRUCTS: dict[str, type[Op]] = {str(kind.__struct_config__.tag): kind for kind in REPLIES}
