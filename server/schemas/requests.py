"""What requests may say: one Struct a body and one a query, with the bounds of each field.

The engine decides what is allowed; these decide what is well formed, so that nothing malformed reaches it.
Bounds that PROTOCOL leaves open are generous and are here, in the OpenAPI document and nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field
from msgspec.json import encode
from msgspec.structs import asdict

from engine.errors import FieldError
from engine.rules import currencies
from engine.types import Phase, Role
from server.schemas import constraints, text
from server.schemas.constraints import says
from server.schemas.decode import MAX_EXACT, Body, wrong_in

_TYPED = {"typed": text.normal}
Lat = Annotated[float, Meta(ge=-90, le=90, description="degrees, WGS 84")]
Lon = Annotated[float, Meta(ge=-180, le=180, description="degrees, WGS 84")]
Moment = Annotated[datetime, Meta(tz=True)]
Amount = Annotated[int, Meta(ge=0, le=10**12, description="integer minor units")]
Currency = Annotated[currencies.Currency, Meta(description="an ISO 4217 code in capitals")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)", description="an id: letters, digits, _ and -")]
ZoneName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$(?!\n)", description="a zone: lower case, digits and -")]
Name = Annotated[
    str,
    Meta(
        max_length=200,
        pattern=text.NAME,
        description="one line of visible text without control characters, at most 200",
        extra=_TYPED,
    ),
]
Short = Annotated[str, Meta(max_length=64, pattern=text.LINE, description="one line of text, at most 64", extra=_TYPED)]
Reason = Annotated[
    str, Meta(max_length=500, pattern=text.LINES, description="text of a line or more, at most 500", extra=_TYPED)
]
Notes = Annotated[
    str, Meta(max_length=4000, pattern=text.TEXT, description="text without NUL, at most 4000", extra=_TYPED)
]
Phone = Annotated[
    str,
    Meta(
        pattern=r"^\s*\+?\d[\d ()./-]{2,31}\s*$",
        description="a telephone number: digits of any script, perhaps a +",
        extra={"typed": text.digits},
    ),
]
Email = Annotated[
    str,
    Meta(max_length=300, pattern=r"^\s*[^@\s\x00]+@[^@\s\x00]+\s*$", description="an e-mail address", extra=_TYPED),
]
Password = Annotated[str, Meta(min_length=8, max_length=256)]
Token = Annotated[str, Meta(min_length=1, max_length=4096)]
Version = Annotated[int, Meta(ge=0, le=2**53)]
TRACE = r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
Trace = Annotated[str, Meta(pattern=rf"^{TRACE}$(?!\n)", description="a traceparent (W3C Trace Context), version 00")]
Code = Annotated[
    str,
    Meta(
        max_length=32,
        pattern=r"^\s*\d{6}\s*$(?!\n)",
        description="six digits, of any script",
        extra={"typed": text.digits},
    ),
]
Pricing = Literal["flat", "hourly"]

Reference = Annotated[str, Meta(max_length=128, pattern=text.LINE, description="one line, at most 128")]
CursorText = Annotated[
    str,
    Meta(
        max_length=4096,
        pattern=r"^({0}(,{0})*)?$(?!\n)".replace("{0}", r"[a-z][a-z0-9-]{0,31}:[A-Za-z0-9_-]{1,64}:[0-9]{1,15}"),
        description="a cursor of each zone once: main:e1:131,north:e2:9",
    ),
]
Names = Annotated[
    str,
    Meta(
        max_length=8192,
        pattern=r"^[a-z][^,\s\x00]{0,119}(,[a-z][^,\s\x00]{0,119}){0,99}$(?!\n)",
        description="names, by commas",
    ),
]
Channels = Annotated[
    str,
    Meta(
        max_length=8192,
        pattern=r"^{0}(,{0}){0,99}$(?!\n)".replace("{0}", r"(job|zone|user|role|room):[A-Za-z0-9_-]{1,64}", 2),
        description="channels, by commas: job:<id>, zone:<name>",
    ),
]

METADATA_BYTES = 4096
ANNOUNCEMENT_BYTES = 8192
METADATA_DEPTH = 16
LAST_MS = 253_402_300_799_999
"""The end of the year 9999: RFC 3339 writes years with four digits."""


class Register(Body):
    email: Email
    password: Password
    name: Name
    role: Literal["customer", "technician"]
    phone: Phone | None = None


class Login(Body):
    email: Annotated[str, Meta(min_length=1, max_length=300)]
    password: Annotated[str, Meta(max_length=256)]


class RefreshToken(Body):
    refresh_token: Token


class NewTicket(Body):
    """``socket``: one use, 30 s, for a browser's WebSocket. ``events``: 15 min, for EventSource."""

    purpose: Literal["socket", "events"] = field(name="for", default="socket")


class NewUser(Body):
    email: Email
    password: Password
    name: Name
    role: Role
    phone: Phone | None = None


class PatchUser(Body):
    role: Role | None = None
    active: bool | None = None


class Suspend(Body):
    """``reassign``: what he holds is offered anew without him, where the job's blueprint still allows it."""

    reason: Reason
    jobs: Literal["keep", "reassign"] = "keep"


class NewService(Body):
    name: Name
    category: Short
    base_amount: Amount
    currency: Currency
    pricing: Pricing
    duration_min: Annotated[int, Meta(ge=1, le=100_000)] = 60
    active: bool = True


class PatchService(Body):
    name: Name | UnsetType = UNSET
    category: Short | UnsetType = UNSET
    base_amount: Amount | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    pricing: Pricing | UnsetType = UNSET
    duration_min: Annotated[int, Meta(ge=1, le=100_000)] | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class PatchTechnician(Body):
    """He himself may set ``name``, ``phone`` and ``services``; managers also ``zone`` and ``capacity``."""

    name: Name | UnsetType = UNSET
    phone: Phone | UnsetType | None = UNSET
    services: Annotated[list[Id], Meta(max_length=50)] | UnsetType = UNSET
    zone: ZoneName | UnsetType = UNSET
    capacity: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET


class Review(Body):
    kyc: Literal["approved", "rejected", "pending"] | None = None
    account: Literal["approved", "suspended"] | None = None
    reason: Reason | None = None

    also = constraints.one_of("kyc", "account")

    def wrong(self) -> list[FieldError]:
        return [] if self.kyc or self.account else [FieldError("", "Give kyc or account")]


class SetAvailability(Body):
    online: bool
    lat: Lat | None = None
    lon: Lon | None = None

    also = constraints.PERHAPS_HERE

    def wrong(self) -> list[FieldError]:
        return pair(self.lat, self.lon)


# What a device sends where it measured nothing (-1, NaN, a text) counts as absent: engine/rules/fixes.py bounds these.
Accuracy = Annotated[float, Meta(description="metres; what is not above 0 counts as absent")]
Speed = Annotated[float, Meta(description="metres a second; what is below 0 counts as absent")]
Heading = Annotated[float, Meta(description="degrees from north; what is not within 0 and 360 counts as absent")]
Altitude = Annotated[float, Meta(description="metres")]
MEASURED = ("accuracy", "speed", "heading", "altitude")
MOST_FIXES = 100


class OneFix(Body):
    lat: Lat
    lon: Lon
    accuracy: Accuracy | None = None
    at: Moment | None = None
    speed: Speed | None = None
    heading: Heading | None = None
    altitude: Altitude | None = None


class Location(Body):
    """One fix in the body itself: where the device is now. Or up to 100 under ``fixes`` that were measured earlier; of
    these, the ones that are wrong are left out.
    """

    lat: Lat | None = None
    lon: Lon | None = None
    accuracy: Accuracy | None = None
    at: Moment | None = None
    speed: Speed | None = None
    heading: Heading | None = None
    altitude: Altitude | None = None
    fixes: Annotated[list[OneFix], Meta(min_length=1, max_length=MOST_FIXES)] | None = None

    @classmethod
    def forgiven(cls, value: dict[str, Any]) -> dict[str, Any]:
        fixes = value.get("fixes")
        if not isinstance(fixes, list) or len(fixes) > MOST_FIXES:
            return _measured(value)
        fixes = [_measured(fix) if isinstance(fix, dict) else fix for fix in fixes]
        good = [fix for fix in fixes if not wrong_in(fix, OneFix)]
        return {**value, "fixes": good or fixes}

    also = constraints.FIXES

    def wrong(self) -> list[FieldError]:
        if self.fixes is None and self.lat is None and self.lon is None:
            return [FieldError("/lat", "Required"), FieldError("/lon", "Required")]
        if self.fixes is not None and (self.lat is not None or self.lon is not None):
            return [FieldError("/fixes", "Either fixes or lat and lon")]
        return pair(self.lat, self.lon)


class NewJob(Body):
    service: Id
    lat: Lat
    lon: Lon
    address: Reason
    blueprint: Id | None = None
    postal_code: Short | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    notes: Annotated[Notes | None, Meta(description="for customer, holder, ops and services")] = None
    public_notes: Annotated[Notes | None, Meta(description="for technicians who are offered the job, too")] = None
    customer: Id | None = None
    scheduled_for: Moment | None = None
    technician: Id | None = None
    reference: Annotated[Reference | None, says(constraints.REFERENCE)] = None
    metadata: Annotated[dict[str, Any] | None, says(constraints.METADATA)] = None

    def wrong(self) -> list[FieldError]:
        return metadata(self.metadata)


class Step(Body):
    """Arguments of any step of a blueprint; ``version`` makes it conditional, as ``If-Match`` does."""

    version: Version | None = None
    reason: Reason | None = None
    code: Code | None = None
    amount: Amount | None = None
    occurred_at: Moment | None = None
    technician: Annotated[Id | None, says(constraints.TECHNICIAN)] = None
    force: Annotated[bool, says(constraints.FORCE)] = False


class Respond(Body):
    status: Literal["accepted", "rejected"]
    version: Version | None = None
    reason: Reason | None = None


class NewRating(Body):
    stars: Annotated[int, Meta(ge=1, le=5)]
    comment: (
        Annotated[str, Meta(max_length=2000, pattern=text.TEXT, description="text without NUL", extra=_TYPED)] | None
    ) = None


class Nothing(Body):
    """A body without fields, which may be left out."""


class Blocked(Body):
    """Whom to block, or to block no longer."""

    user: Id


class ListQuery(Body):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: (
        Annotated[
            str,
            Meta(max_length=512, pattern=r"^[A-Za-z0-9_-]+$(?!\n)", description="what `next` of the page before says"),
        ]
        | None
    ) = None


class UsersQuery(ListQuery):
    role: Role | None = None
    active: bool | None = None


class ServicesQuery(ListQuery):
    q: Annotated[str, Meta(max_length=200)] | None = None
    category: Annotated[str, Meta(max_length=64)] | None = None


class TechniciansQuery(ListQuery):
    service: Id | None = None
    lat: Lat | None = None
    lon: Lon | None = None

    together = ("lat", "lon")

    def wrong(self) -> list[FieldError]:
        return pair(self.lat, self.lon)


class JobsQuery(ListQuery):
    phase: Phase | None = None
    status: Short | None = None
    customer: Id | None = None
    technician: Id | None = None
    reference: Annotated[str, Meta(max_length=128)] | None = None
    updated_after: Moment | None = None


class EventsQuery(Body):
    """``after`` is a cursor as text; with it, or with ``wait`` (seconds), one answer is given instead of a stream,
    unless the request accepts ``text/event-stream``. ``channels`` and ``types`` (also ``job.*``) are separated by
    commas.
    """

    after: CursorText | None = None
    wait: Annotated[float, Meta(ge=0, le=60, description="seconds")] | None = None
    channels: Channels | None = None
    types: Names | None = None
    ticket: Token | None = None


class NewAnnouncement(Body):
    """``event`` is declared as an announcement by a blueprint, or begins with ``announcement.``. Without ``roles`` it
    goes to those that the blueprint declares.
    """

    event: Annotated[
        str,
        Meta(
            max_length=64,
            pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$(?!\n)",
            description="a name of an event: small letters, digits, _ and dots",
        ),
    ]
    data: dict[str, Any]
    roles: Annotated[list[Role | Literal["ops", "managers"]], Meta(min_length=1, max_length=9)] | None = None

    def wrong(self) -> list[FieldError]:
        return _json(self.data, "/data", ANNOUNCEMENT_BYTES)


def pair(lat: Any, lon: Any, missing: Any = None) -> list[FieldError]:
    """The refusal of half a position; ``missing`` is what stands where nothing was given."""
    if (lat is missing) == (lon is missing):
        return []
    return [FieldError("/lat" if lat is missing else "/lon", "lat and lon go together")]


def metadata(value: dict[str, Any] | None) -> list[FieldError]:
    """Metadata travels in every event of the job, so its size is bounded, and its depth, which Lua's
    JSON limits.
    """
    return [] if value is None else _json(value, "/metadata", METADATA_BYTES)


def _json(value: dict[str, Any], at: str, most: int) -> list[FieldError]:
    if fault := _fault(value, METADATA_DEPTH):
        return [FieldError(at, fault)]
    return [] if len(encode(value)) <= most else [FieldError(at, f"At most {most} bytes")]


def _fault(value: Any, left: int) -> str | None:
    if left < 0:
        return f"At most {METADATA_DEPTH} levels deep"
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        return "Integers of at most 53 bits"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((fault for item in inner if (fault := _fault(item, left - 1))), None)


def given(body: Body) -> dict[str, Any]:
    """The fields of a patch that were sent, by name."""
    return {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}


def _measured(fix: dict[str, Any]) -> dict[str, Any]:
    """A fix without what should be a measurement and is no number."""
    return {name: value for name, value in fix.items() if name not in MEASURED or type(value) in (int, float)}


def fixes(body: Location) -> list[dict[str, Any]]:
    """The fixes that a location gives, one or many, with ``at`` in ms since the Unix epoch."""
    many = [body] if body.fixes is None else body.fixes
    return [{**asdict(fix), "at": ms(fix.at)} for fix in many]


def ms(moment: datetime | None) -> int | None:
    """A time as the engine takes it: ms since the Unix epoch. What an offset pushes out of the years that can be
    written is the first or the last moment that can.
    """
    return None if moment is None else min(max(0, round(moment.timestamp() * 1000)), LAST_MS)
