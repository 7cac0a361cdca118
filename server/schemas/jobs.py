"""Jobs: bookings, edits, steps, lists, and the job as participants and as candidates see it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from engine.errors import FieldError
from engine.types import Phase
from server.schemas import constraints, text
from server.schemas.constraints import describe_field
from server.schemas.decode import Body
from server.schemas.fields import (
    Amount,
    Code,
    Currency,
    DurationMin,
    Id,
    Lat,
    Lon,
    LongText,
    MediumText,
    Moment,
    Pricing,
    ShortText,
    Version,
    json_errors,
    position_errors,
)
from server.schemas.files import File
from server.schemas.lists import ListQuery
from server.schemas.objects import Person, Proposal, Shape
from server.schemas.problems import Problem
from server.schemas.quotes import JobQuote
from server.schemas.rooms import Room
from server.schemas.signatures import JobSignature

Reference = Annotated[str, Meta(max_length=128, pattern=text.LINE_PATTERN, description="one line, at most 128")]
MAX_METADATA_BYTES = 4096


class NewJob(Body):
    service: Id
    lat: Lat
    lon: Lon
    address: MediumText
    blueprint: Id | None = None
    postal_code: ShortText | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    notes: Annotated[LongText | None, Meta(description="for customer, holder, ops and services")] = None
    public_notes: Annotated[LongText | None, Meta(description="for technicians who are offered the job, too")] = None
    customer: Id | None = None
    scheduled_for: Moment | None = None
    duration_min: Annotated[DurationMin | None, Meta(description="without it, that of the service")] = None
    technician: Id | None = None
    reference: Annotated[Reference | None, describe_field(constraints.REFERENCE_TEXT)] = None
    metadata: Annotated[dict[str, Any] | None, describe_field(constraints.METADATA_TEXT)] = None
    quote: Annotated[Id | None, Meta(description="the quote that this booking uses up")] = None

    def find_errors(self) -> list[FieldError]:
        return metadata_errors(self.metadata)


class PatchJob(Body):
    """The fields of a job to change. Null removes an optional field. The edit is done only if the job has this
    `version`, as with `If-Match`.
    """

    service: Id | UnsetType = UNSET
    lat: Lat | UnsetType = UNSET
    lon: Lon | UnsetType = UNSET
    address: MediumText | UnsetType = UNSET
    postal_code: ShortText | UnsetType | None = UNSET
    amount: Amount | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    notes: LongText | UnsetType | None = UNSET
    public_notes: LongText | UnsetType | None = UNSET
    scheduled_for: Moment | UnsetType | None = UNSET
    duration_min: DurationMin | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    quote: Annotated[Id | UnsetType, Meta(description="a fresh quote, where the price was quoted")] = UNSET
    version: Version | None = None

    rules_schema = constraints.LAT_WITH_LON

    def find_errors(self) -> list[FieldError]:
        errors = position_errors(self.lat, self.lon, UNSET)
        return errors if self.metadata is UNSET else [*errors, *metadata_errors(self.metadata)]


class Step(Body):
    """The arguments of a step of a blueprint. The step is done only if the job has this ``version``, as with
    ``If-Match``.
    """

    version: Version | None = None
    reason: MediumText | None = None
    code: Code | None = None
    amount: Amount | None = None
    occurred_at: Moment | None = None
    technician: Annotated[Id | None, describe_field(constraints.TECHNICIAN_TEXT)] = None
    force: Annotated[bool, describe_field(constraints.FORCE_TEXT)] = False


class Respond(Body):
    status: Literal["accepted", "rejected"]
    version: Version | None = None
    reason: MediumText | None = None


class OneCommand(Step, kw_only=True):
    """A step with its request key. Without ``key`` the server creates a key."""

    command: ShortText
    key: Annotated[str, Meta(pattern=r"^[0-9a-fA-F-]{32,36}$(?!\n)", description="a UUID")] | None = None


class Commands(Body):
    """Steps in the order in which they were taken. ``occurred_at`` is the time of a step that is sent later."""

    items: Annotated[list[OneCommand], Meta(min_length=1, max_length=50)]


class JobsQuery(ListQuery):
    phase: Phase | None = None
    status: ShortText | None = None
    customer: Id | None = None
    technician: Id | None = None
    reference: Annotated[str, Meta(max_length=128)] | None = None
    updated_after: Moment | None = None


class _JobCore(Shape):
    """The members that every reader of a job sees."""

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
    duration_min: Annotated[int | None, Meta(description="how long the work takes, in minutes")] = None
    public_notes: Annotated[str | None, Meta(description="also for technicians who are offered the job")] = None
    actions: Annotated[list[str] | None, Meta(description="what the caller may do now")] = None


class PublicJob(_JobCore, kw_only=True):
    """A job as a technician who was offered it sees it: no customer, exact address, postal code, notes, reference or
    metadata, and the position rounded to 100 m. ``technician`` is null, or the reader if the customer booked this
    technician.
    """

    technician: Person | None
    created_at: datetime
    updated_at: datetime
    at: dict[str, datetime]
    expires_at: datetime | None = None


class Job(_JobCore, kw_only=True):
    """A job as its participants, ops and services see it. Others receive only the members of PublicJob."""

    customer: Person | None = None
    technician: Person | None = None
    address: str | None = None
    postal_code: str | None = None
    notes: Annotated[str | None, Meta(description="for customer, holder, ops and services")] = None
    reference: str | None = None
    quote: Annotated[JobQuote | None, Meta(description="the price that was promised")] = None
    metadata: dict[str, Any] | None = None
    paid_amount: Annotated[int | None, Meta(description="captured so far, in the job's currency")] = None
    refunded_amount: Annotated[int | None, Meta(description="refunded of the captured amount")] = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    at: Annotated[dict[str, datetime] | None, Meta(description="when each state was first reached")] = None
    photos: Annotated[list[File] | None, Meta(description="of the work, the oldest first")] = None
    expires_at: datetime | None = None
    room: str | None = None
    frozen: Annotated[bool | None, Meta(description="true while a dispute is open")] = None
    promise: Annotated[datetime | None, Meta(description="when its technician is there, in four of five cases")] = None
    asked: Annotated[bool | None, Meta(description="true while its technician has not accepted yet")] = None
    signed: Annotated[JobSignature | None, Meta(description="once the customer has signed its record")] = None
    codes: Annotated[dict[str, str] | None, Meta(description="by purpose, for the customer only")] = None
    proposal: Annotated[Proposal | None, Meta(description="the price that waits for an answer")] = None


class JobReply(Shape):
    job: Job


class StepReply(Shape):
    job: Job | None = None
    message: str | None = None


class BookingReply(StepReply):
    """The reply to a booking. ``room`` is the job's chat room, if it opens with the booking."""

    room: Room | None = None


class CommandResult(Shape):
    """The outcome of one command. The commands after a refused one are not tried."""

    command: str
    key: str
    status: Literal["done", "refused", "not_tried"]
    job: Job | None = None
    message: str | None = None
    repeated: bool | None = None
    error: Problem | None = None


class CommandsReply(Shape):
    """The outcome of each command of a batch, in the order of the request."""

    items: list[CommandResult]


class HistoryItem(Shape, rename={"from_state": "from"}):
    """A change of a job. ``actor`` is ``<role>:<id>`` or ``engine``, ``cause`` the request key. If the state did not
    change, ``from`` and ``to`` are the same state, or null if that state is unknown. ``occurred_at`` is the time of a
    change that was reported later.
    """

    seq: int
    at: datetime
    actor: str
    command: str
    from_state: str | None
    to: str | None
    reason: str | None
    cause: str | None
    occurred_at: datetime | None


def metadata_errors(metadata: dict[str, Any] | None) -> list[FieldError]:
    """Return the errors of a job's metadata. Every event of the job contains it, and Lua's JSON limits its depth."""
    return [] if metadata is None else json_errors(metadata, "/metadata", MAX_METADATA_BYTES)
