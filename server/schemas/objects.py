"""What answers look like: the objects of PROTOCOL §2 as the OpenAPI document tells them.

Most are made by the engine as JSON and embedded unread, so these types encode nothing: they are the
promise, and the tests decode every answer of a route as the type that the table names for it, with unknown
fields refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from engine.types import Phase, Role
from server.schemas.requests import Pricing

T = TypeVar("T")


class Shape(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An object of an answer. Clients ignore members that they do not know; our own tests do not."""


class CursorOut(Shape):
    epoch: str
    seq: int


Cursors = dict[str, CursorOut]


class Items(Shape, Generic[T]):
    """A list. ``next`` is the cursor of the page after this one."""

    items: list[T]
    next: str | None


class LiveItems(Shape, Generic[T]):
    """A list of live things; ``as_of`` says, for each zone, how far of its log the list knows."""

    items: list[T]
    next: str | None
    as_of: Cursors


class User(Shape):
    id: str
    email: str
    name: str
    role: Role
    phone: str | None
    active: bool
    created_at: datetime


class UserReply(Shape):
    user: User


class Account(Shape):
    """An account as ops see it; ``email`` and ``phone`` are there for admins alone."""

    id: str
    name: str
    role: Role
    active: bool
    created_at: datetime
    email: str | None = None
    phone: str | None = None


class AccountReply(Shape):
    user: Account


class Signed(Shape):
    """``access_token`` is a bearer token, good for ``expires_in`` seconds; ``refresh_token`` changes at each
    use.
    """

    user: User
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in: int


class Logon(Shape):
    """One login of the caller's and what was refreshed from it."""

    id: str
    created_at: datetime
    last_seen: Annotated[datetime, Meta(description="when its tokens were last given: at most an hour behind")]
    device: Annotated[str | None, Meta(description="how the client named itself (`User-Agent`), where it did")]
    current: Annotated[bool, Meta(description="whether this request was made with it")]


class Ticket(Shape):
    ticket: str
    expires_in: int


class Technician(Shape):
    id: str
    name: str
    services: list[str]
    zone: str
    rating: float
    rating_count: int
    online: bool
    phone: str | None = None
    capacity: int | None = None
    load: int | None = None
    kyc: Literal["approved", "rejected", "pending"] | None = None
    account: Literal["approved", "suspended", "pending"] | None = None


class TechnicianReply(Shape):
    technician: Technician


class Poll(Shape):
    """How often a client without a WebSocket should ask, in seconds."""

    connected: int
    disconnected: int


class FixRate(Shape):
    every_s: int


class Me(Shape):
    user: User
    poll: Poll
    fix: FixRate
    technician: Technician | None = None
    clock_offset_s: Annotated[
        float | None, Meta(description="how far the device's clock is ahead, where that is more than 30 s")
    ] = None


class Service(Shape):
    id: str
    name: str
    category: str
    base_amount: int
    currency: str
    pricing: Pricing
    duration_min: int
    active: bool


class ServiceReply(Shape):
    service: Service


class Availability(Shape):
    """``receiving`` is whether offers come; ``blockers`` are the codes why not; ``clock_offset_s`` is how far the
    device's clock is ahead, 0 up to 30 s.
    """

    online: bool
    receiving: bool
    blockers: list[str]
    lease_s: float
    fix: FixRate
    clock_offset_s: float


class FixHeard(Shape):
    """The answer to a fix where something is not as it should be: offers come to those online alone, and a device's
    clock may be off by 30 s.
    """

    online: bool
    clock_offset_s: float


class Person(Shape):
    id: str
    name: str = ""
    phone: str | None = None
    rating: float | None = None


class Actor(Shape):
    """Who did it; ``engine`` where nobody did."""

    id: str
    role: Role | Literal["engine"]


class Proposal(Shape):
    """Another price than was agreed, which the other side accepts or rejects."""

    id: str
    amount: int
    by: Actor
    reason: str | None = None
    status: Literal["open", "accepted", "rejected"] | None = None
    created_at: datetime | None = None


class _JobCore(Shape):
    """What everybody sees of a job who sees anything of it."""

    id: str
    zone: str
    blueprint: str
    status: str
    phase: Phase
    version: int
    service: str
    lat: float
    lon: float
    amount: int
    currency: str
    pricing: Pricing
    scheduled_for: datetime | None
    public_notes: Annotated[str | None, Meta(description="what those who are offered the job may read")] = None
    actions: Annotated[list[str] | None, Meta(description="what the caller may do now")] = None


class PublicJob(_JobCore, kw_only=True):
    """What a technician who was offered a job may see: no customer, exact address, postal code, notes,
    reference or metadata, and the position rounded to 100 m. ``technician`` is null, or the reader who is asked for it.
    """

    technician: Person | None
    created_at: datetime
    updated_at: datetime
    at: dict[str, datetime]
    expires_at: datetime | None = None


class Job(_JobCore, kw_only=True):
    """A job as its participants, ops and services see it; to others who may see it, the members of PublicJob."""

    customer: Person | None = None
    technician: Person | None = None
    address: str | None = None
    postal_code: str | None = None
    notes: Annotated[str | None, Meta(description="for customer, holder, ops and services")] = None
    reference: str | None = None
    metadata: dict[str, Any] | None = None
    paid_amount: Annotated[int | None, Meta(description="captured so far, in its currency")] = None
    refunded_amount: Annotated[int | None, Meta(description="refunded of that")] = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    at: Annotated[dict[str, datetime] | None, Meta(description="when each state was first reached")] = None
    expires_at: datetime | None = None
    room: str | None = None
    frozen: Annotated[bool | None, Meta(description="true while a dispute is open")] = None
    asked: Annotated[bool | None, Meta(description="true while its technician has not accepted yet")] = None
    codes: Annotated[dict[str, str] | None, Meta(description="by purpose, to its customer alone")] = None
    proposal: Annotated[Proposal | None, Meta(description="the price that waits for the other side's answer")] = None


class JobReply(Shape):
    job: Job


class StepReply(Shape):
    job: Job | None = None
    message: str | None = None


class Offer(Shape):
    job: PublicJob
    status: Literal["sent", "accepted", "rejected", "expired"]
    wave: int
    offered_at: datetime
    expires_at: datetime
    distance_m: float | None = None


class HistoryItem(Shape, rename={"source": "from"}):
    """One change: ``actor`` is ``<role>:<id>`` or ``engine``, ``cause`` the request key. Where the job did not move,
    ``from`` and ``to`` are the state it was in, null where that is not known. ``occurred_at`` is when it happened,
    where that was told later.
    """

    seq: int
    at: datetime
    actor: str
    command: str
    source: str | None
    to: str | None
    reason: str | None
    cause: str | None
    occurred_at: datetime | None


class Notification(Shape):
    id: str
    kind: str
    title: str
    body: str
    job: str | None
    at: datetime
    read: bool


class Verdict(Shape):
    """What became of a request: done, or refused with the code."""

    key: str
    status: Literal["done", "refused"]
    code: str | None = None
    seq: int | None = None
    job: str | None = None


class Frame(Shape):
    """An event as it is told: the same over the socket, a stream and a poll. ``type`` is the engine's name, ``event``
    the blueprint's.
    """

    type: str
    event: str
    zone: str
    seq: int
    at: datetime
    data: dict[str, Any]


class Heard(Shape):
    """What a poll answers. ``cursor`` is what to poll with next; ``recovered`` false: call ``/v1/sync`` and go on from
    its cursor.
    """

    events: list[Frame]
    cursor: str
    recovered: bool
    reason: Literal["too_old", "epoch"] | None = None


class StreamEvent(Shape):
    """One event of the stream. ``id`` is the cursor to come back with, ``data`` JSON text: of an unnamed event a frame
    as a poll has them, of ``connect`` where it begins, of ``close`` the code; /asyncapi.json has them in full.
    """

    id: str | None = None
    event: Literal["connect", "close", "message"] | None = None
    data: str | None = None
    retry: Annotated[int | None, Meta(description="ms to wait before coming back")] = None


class Announced(Shape):
    event: str
    roles: list[str]
    data: dict[str, Any]
    zone: str
    seq: int


class AnnouncementReply(Shape):
    announcement: Announced


class Myself(Shape):
    user: User
    technician: Technician | None = None


class Sync(Shape):
    """One snapshot to start from. ``cursor`` was read before all else: events from there on may repeat what is here,
    and none is missing. ``next`` continues ``jobs`` at ``GET /v1/jobs?cursor=``.
    """

    me: Myself
    jobs: list[Job]
    next: str | None
    offers: list[Offer]
    rooms: list[dict[str, Any]]
    notifications: list[Notification]
    cursor: Cursors
    poll: Poll
    fix: FixRate


class ProblemKind(Shape):
    """What a code means; ``temporary``: the same request may be repeated later with the same key."""

    code: str
    status: int
    title: str
    temporary: bool
    means: str


class ProblemReply(Shape):
    problem: ProblemKind


class Ready(Shape):
    ready: bool
    problems: list[str]


class Alive(Shape):
    ok: bool


class About(Shape):
    """What a client needs to know before it signs in."""

    name: str
    version: str
    now: datetime
    zones: list[str]
    blueprint: str
    socket: str
    subprotocols: list[str]
    poll: Poll
