"""What a server says on the socket and in a stream: the shapes behind ``/asyncapi.json``.

Like server/shapes.py these encode nothing: event data is made by the scripts, replies by server/ws/ops.py. They are the
promise, and the tests hold to it whatever the code says.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from engine.types import Role
from server import shapes
from server.shapes import Shape
from server.ws import protocol


class Ref(Shape):
    id: str


class Actor(Shape):
    """Who did it; ``engine`` where nobody did."""

    id: str
    role: Role | Literal["engine"]


class OfferCreated(Shape):
    offer: shapes.Offer


class OfferClosed(Shape):
    job: Ref
    reason: Literal["taken", "cancelled", "expired", "withdrawn", "reassigned"]
    message: str


class OfferDeclined(Shape):
    job: shapes.PublicJob
    technician: Ref
    reason: str | None = None


class JobCreated(Shape):
    job: shapes.Job
    changed: list[str]


class JobSearching(Shape):
    """``asked`` and ``declined`` are counts over all waves; ``radius_m`` null is the whole zone."""

    job: Ref
    wave: int
    asked: int
    declined: int
    radius_m: float | None
    next_at: datetime


class Contact(Shape):
    """The technician as a customer needs him: how to call him, and where he was last."""

    id: str
    name: str
    rating: float | None = None
    phone: str | None = None
    lat: float | None = None
    lon: float | None = None


class JobAccepted(Shape, rename={"source": "from"}):
    job: shapes.Job
    technician: Contact
    source: str
    to: str


class JobStatus(Shape, rename={"source": "from"}):
    job: shapes.Job
    source: str
    to: str
    command: str
    actor: Actor
    reason: str | None = None


class JobEnded(Shape, rename={"source": "from"}):
    job: shapes.Job
    actor: Actor
    source: str
    to: str
    reason: str | None = None


class TechnicianReviewed(Shape):
    technician: Ref
    kyc: str
    account: str
    reason: str | None = None


class TechnicianStatus(Shape):
    technician: Ref
    online: bool
    reason: str


class Notified(Shape):
    id: str
    kind: str
    title: str
    body: str
    job: str | None = None


EVENTS: dict[str, Any] = {
    "job.created": JobCreated,
    "job.searching": JobSearching,
    "job.accepted": JobAccepted,
    "job.status": JobStatus,
    "job.cancelled": JobEnded,
    "job.expired": JobEnded,
    "offer.created": OfferCreated,
    "offer.closed": OfferClosed,
    "offer.declined": OfferDeclined,
    "technician.reviewed": TechnicianReviewed,
    "technician.status": TechnicianStatus,
    "notification": Notified,
    "announcement.*": dict[str, Any],
}
"""The data of each type of event that a client can get, as it stands in the log; a blueprint may add fields."""


class TokenExpiring(Shape):
    """The token ends in so many seconds: `refresh`, or come back with another."""

    in_s: int


LIVE: dict[str, Any] = {"token.expiring": TokenExpiring}
"""The data of what is in no log: told once, without zone and seq, and never replayed."""


class ZoneState(Shape):
    """How a zone was joined: ``missed`` events follow, or ``reason`` says why they cannot."""

    epoch: str
    seq: int
    recovered: bool
    missed: int | None = None
    reason: Literal["too_old", "epoch"] | None = None


class Who(Shape):
    id: str
    role: Role


class RefusedSub(Shape):
    channel: str
    code: str


class Connected(Shape):
    session: str
    user: Who
    now: datetime
    expires_in: int | None
    ping: float
    pong: float
    zones: dict[str, ZoneState]
    poll: shapes.Poll
    fix: shapes.FixRate
    subs: list[str] | None = None
    refused: list[RefusedSub] | None = None


class Opened(Connected, kw_only=True):
    """The first event of a stream, ``connect``: as on the socket, with one word for all zones."""

    recovered: bool
    reason: Literal["too_old", "epoch"] | None = None


class Closed(Shape):
    """The last event of a stream, ``close``, where it can still be sent: the close code of the socket."""

    code: int
    reason: str


class Pong(Shape):
    now: datetime
    n: int


class Refreshed(Shape):
    expires_in: int | None


class Subscribed(Shape):
    channel: str
    zone: str
    seq: int
    job: shapes.Job | None = None
    epoch: str | None = None


class Unsubscribed(Shape):
    channel: str


class Done(Shape):
    job: shapes.Job | None = None
    message: str | None = None
    seq: int | None = None
    repeated: bool = False
    key: Annotated[str | None, Meta(description="where the server made it")] = None


class Available(shapes.Availability):
    key: str | None = None


class Nothing(Shape):
    pass


REPLIES: dict[type[protocol.Op], Any] = {
    protocol.Connect: Connected,
    protocol.Ping: Pong,
    protocol.Refresh: Refreshed,
    protocol.Subscribe: Subscribed,
    protocol.Unsubscribe: Unsubscribed,
    protocol.Claim: Done,
    protocol.Decline: Done,
    protocol.Command: Done,
    protocol.SetAvailability: Available,
    protocol.Location: Nothing,
}
"""What ``ok`` holds in the reply to each op."""


class Head(Shape):
    """Every event up to here that concerns the receiver has been sent."""

    zone: str
    epoch: str
    seq: int
