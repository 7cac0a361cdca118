"""The payloads of events: one Struct for each payload that engine/blueprint/event_catalogue.py names.

The scripts make the data, so these types encode nothing. They document the data in ``/asyncapi.json``, and the tests
decode every event as the type that is documented for it. An event about a job holds the whole job; an event that
changes nothing of the job names the job by its id.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from engine.blueprint import event_catalogue
from engine.blueprint.event_catalogue import EventType
from engine.rules.fixes import FixRate
from server.schemas.bids import Bid
from server.schemas.demand import DemandChanged
from server.schemas.disputes import EventDispute, MediationEventData
from server.schemas.earnings import PayoutEventData
from server.schemas.file_events import FileEventData
from server.schemas.jobs import Job, PublicJob
from server.schemas.maps import MapDelta, MapSnapshot
from server.schemas.objects import Actor, Ref, Shape
from server.schemas.offers import Offer
from server.schemas.payment_events import PaymentEventData, PaymentUnexpected
from server.schemas.positions import Position, TechnicianArrival
from server.schemas.presence import Presence
from server.schemas.prices import PriceChanged, PriceEventData
from server.schemas.quotes import Quote
from server.schemas.rooms import MessageEventData, RoomEventData, TypingNotice
from server.schemas.shares import ShareEventData


class OfferMade(Shape):
    """A new offer to a technician."""

    offer: Offer


class OfferClosed(Shape):
    """The end of an open offer: ``reason`` is why, ``message`` the text for the technician."""

    job: Ref
    reason: Literal["taken", "cancelled", "expired", "withdrawn", "reassigned"]
    message: str


class OfferDeclined(Shape):
    job: PublicJob
    technician: Ref
    reason: str | None = None


class JobChanged(Shape, rename={"source": "from"}):
    """The payload of a new or edited job. ``changed`` lists the changed fields, or ``codes`` if the job has new
    confirmation codes. If the blueprint addresses technicians, they receive the public part of ``job``. The payload of
    an edit also has the actor, and in ``from`` and ``to`` the state, which an edit does not change.
    """

    job: Job
    changed: list[str]
    source: str | None = None
    to: str | None = None
    command: str | None = None
    actor: Actor | None = None
    reason: str | None = None
    occurred_at: datetime | None = None


class JobSearching(Shape):
    """The progress of a search for a technician. ``asked`` and ``declined`` count technicians of all waves.
    ``radius_m`` null is the whole zone. ``next_at`` is the time of the next wave."""

    job: Ref
    wave: int
    asked: int
    declined: int
    radius_m: float | None
    next_at: datetime


class Card(Shape):
    """A technician as a customer sees them. Only replies and live pushes contain phone and position."""

    id: str
    name: str = ""
    rating: float | None = None


class JobStep(Shape, rename={"source": "from"}):
    """A step of the job's blueprint: the states, the command, the actor and the reason. ``occurred_at`` is the time of
    a step that was reported later, ``dispute`` the dispute that the step opened or resolved, ``former`` the technician
    who no longer holds the job. ``forced`` is true if ops assigned the technician by force. ``offers_closing`` is true
    if there are many other technicians, whose offers later events close.
    """

    job: Job
    source: str
    to: str
    command: str
    actor: Annotated[Actor | None, Meta(description="left out if the job is its public part")] = None
    reason: str | None = None
    occurred_at: datetime | None = None
    dispute: EventDispute | None = None
    former: Ref | None = None
    forced: bool | None = None
    offers_closing: bool | None = None


class JobTaken(JobStep, kw_only=True):
    """A step that assigned a technician to the job. ``command`` is absent if the step is the technician's claim."""

    technician: Card | None = None
    command: str | None = None  # type: ignore[assignment]


class JobSigned(JobStep, kw_only=True):
    """The customer has signed the record of the job."""

    receipt: Ref | None = None


class JobEnded(JobStep, kw_only=True):
    """The end of an open job: a user cancelled the job, or the job expired. If it expired, ``command`` is absent."""

    command: str | None = None  # type: ignore[assignment]


class JobLate(Shape):
    """A warning that a job is late. ``since`` is the time at which it should have advanced. ``step`` is the stage of
    the escalation, ``status`` the state that lasts too long, ``reason`` what the engine observed about ``technician``.
    """

    job: Ref
    since: datetime | None
    step: str
    status: str | None = None
    technician: Ref | None = None
    reason: str | None = None


class BidEventData(Shape):
    """A new or changed bid. ``reason`` is why the bid was closed."""

    bid: Bid
    job: Ref
    reason: str | None = None


class QuoteEventData(Shape):
    """A new quote, with the inputs of its price."""

    quote: Quote


class CodeFailed(Shape):
    """The technician of a job has sent a wrong confirmation code."""

    job: Ref
    technician: Ref
    purpose: str


class TechnicianReviewed(Shape):
    technician: Ref
    kyc: str
    account: str
    reason: str | None = None


class TechnicianStatus(Shape):
    """A technician went online or offline, or became busy or free. ``job`` is present if a job is the reason: the
    technician was assigned to the job, departed for it, or no longer has it.
    """

    technician: Ref
    online: bool
    reason: Literal["self", "lease", "ops", "review", "assigned", "departed", "free"]
    job: Ref | None = None


class NotificationEventData(Shape):
    id: str
    kind: str
    title: str
    body: str
    job: str | None = None
    room: str | None = None


class TokenExpiring(Shape):
    """The access token expires in ``in_s`` seconds. The client sends `refresh` or connects with another token."""

    in_s: int


_STRUCTS = {
    struct.__name__: struct
    for struct in (
        *(JobChanged, JobSearching, JobStep, JobTaken, JobSigned, JobEnded, JobLate, OfferMade, OfferClosed),
        *(OfferDeclined, PayoutEventData, TokenExpiring, FixRate, FileEventData, BidEventData, PriceEventData),
        *(PriceChanged, QuoteEventData, PaymentEventData, PaymentUnexpected, CodeFailed, TechnicianReviewed),
        *(TechnicianStatus, TechnicianArrival, NotificationEventData, Position, Presence, MapSnapshot, MapDelta),
        *(RoomEventData, MessageEventData, TypingNotice, MediationEventData, DemandChanged, ShareEventData),
    )
}


def _data_struct(event: EventType) -> Any:
    return _STRUCTS[event.payload.name] if event.payload.name else dict[str, Any]


EVENT_DATA: dict[str, Any] = {event.type: _data_struct(event) for event in event_catalogue.LOGGED_EVENTS}
"""The Struct of the data of each event type in the log. A blueprint may add fields to the data."""
LIVE_PUSH_DATA: dict[str, Any] = {event.type: _data_struct(event) for event in event_catalogue.LIVE_EVENTS}
"""The Struct of the data of each type of push that is not stored in a log."""


def data_struct_of(event_type: str) -> Any:
    """Return the Struct of an event's data. ``event_type`` may be a name that a blueprint chose."""
    return EVENT_DATA.get(event_type) or EVENT_DATA.get(f"{event_type.partition('.')[0]}.*", dict[str, Any])
