"""A job's document: the table of its members, the encoding as JSON, and the decoded view for code.

``MEMBERS`` is the only list of a job's members. The public part, the edit table, the catalogue of events, the booking
and the columns in SQL are computed from ``MEMBERS``. The schemas of the API, the booking's fields and lua/lib/job.lua
cannot be; tests/engine/test_job_members.py compares these with ``MEMBERS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import msgspec

from engine.events import ms_of
from engine.rules.job_file import JobFile
from engine.types import JobId, Phase, RoomId, ServiceId, UserId, Zone


class Party(msgspec.Struct, frozen=True):
    """The customer or the technician of a job, as events and job views contain them."""

    id: UserId


MemberOrigin = Literal["record", "step", "reply"]
"""Where a member comes from. ``record``: it is in the text of the job's record, which is encoded at booking and at each
edit. ``step``: lua/lib/job.lua adds it to that text at each step. All events that contain the job have both. ``reply``:
engine/domain/job_view.py adds it for one caller; it is in no event.
"""


class Member(NamedTuple):
    """One member of a job's document. Technicians who were offered the job receive only ``public`` members. An
    ``editable`` member may change after the booking if the blueprint's edit table allows it. A ``column`` member has a
    column in SQL, so that lists can filter by it.
    """

    name: str
    json_type: type
    origin: MemberOrigin = "record"
    public: bool = False
    editable: bool = False
    has_column: bool = False


MEMBERS = (
    Member("id", str, public=True, has_column=True),
    Member("zone", str, public=True, has_column=True),
    Member("blueprint", str, public=True, has_column=True),
    Member("customer", Party, has_column=True),
    Member("service", str, public=True, editable=True, has_column=True),
    Member("lat", float, public=True, editable=True),
    Member("lon", float, public=True, editable=True),
    Member("address", str, editable=True),
    Member("postal_code", str, editable=True),
    Member("currency", str, public=True, editable=True),
    Member("pricing", str, public=True),
    Member("notes", str, editable=True),
    Member("public_notes", str, public=True, editable=True),
    Member("scheduled_for", str, public=True, editable=True),
    Member("duration_min", int, public=True, editable=True),
    Member("reference", str, has_column=True),
    Member("quote", dict),
    Member("metadata", dict, editable=True),
    Member("created_at", str, public=True, has_column=True),
    Member("amount", int, "step", public=True, editable=True),
    Member("paid_amount", int, "step"),
    Member("refunded_amount", int, "step"),
    Member("status", str, "step", public=True, has_column=True),
    Member("phase", str, "step", public=True, has_column=True),
    Member("version", int, "step", public=True, has_column=True),
    Member("technician", Party, "step", public=True, has_column=True),
    Member("updated_at", str, "step", public=True, has_column=True),
    Member("at", dict, "step", public=True),
    Member("photos", list, "step"),
    Member("expires_at", str, "step", public=True),
    Member("room", str, "step"),
    Member("promise", str, "step"),
    Member("asked", bool, "step"),
    Member("signed", dict, "step"),
    Member("frozen", bool, "step"),
    Member("actions", list, "reply", public=True),
    Member("codes", dict, "reply"),
    Member("proposal", dict, "reply"),
)
"""All members, in the order of the document. ``metadata`` comes after all members that Lua reads from the text, because
lua/lib/cost.lua takes the first match of a name, and customers choose the names inside ``metadata``.
"""

RECORD_MEMBERS = tuple(member.name for member in MEMBERS if member.origin == "record")
STEP_MEMBERS = tuple(member.name for member in MEMBERS if member.origin == "step")
COLUMN_MEMBERS = tuple(member.name for member in MEMBERS if member.has_column)
_column_members_of = attrgetter(*COLUMN_MEMBERS)
_PARTY_COLUMNS = tuple(name for name in COLUMN_MEMBERS if name in ("customer", "technician"))
_TIME_COLUMNS = tuple(name for name in COLUMN_MEMBERS if name.endswith("_at"))
_REQUIRED_COLUMNS = tuple(name for name in COLUMN_MEMBERS if name not in ("technician", "reference"))
_JobColumns = msgspec.defstruct(
    "_JobColumns", [(member.name, member.json_type | None, None) for member in MEMBERS if member.has_column], gc=False
)
_columns_decoder = msgspec.json.Decoder(_JobColumns | str | None)
EDITABLE_MEMBERS = frozenset(member.name for member in MEMBERS if member.editable)
EVENT_MEMBERS = frozenset((*RECORD_MEMBERS, *STEP_MEMBERS))
_PUBLIC_MEMBERS = frozenset(member.name for member in MEMBERS if member.public)
PUBLIC_RECORD_MEMBERS = tuple(name for name in RECORD_MEMBERS if name in _PUBLIC_MEMBERS)
_PUBLIC_STEP_MEMBERS = tuple(name for name in STEP_MEMBERS if name in _PUBLIC_MEMBERS)


class EventJob(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded ``job`` of an event's data. The event may contain a whole job, a public part, or only an id;
    therefore each member has a default.
    """

    id: str = ""
    status: str = ""
    phase: str = ""
    customer: Party | None = None
    """The customer; None in a public part."""
    technician: Party | None = None
    asked: bool = False
    """Whether the technician was asked alone and has not accepted yet."""
    frozen: bool = False
    """Whether a dispute is open."""

    @property
    def customer_id(self) -> str:
        """The customer's id; "" in a public part."""
        return self.customer.id if self.customer else ""

    @property
    def holder_id(self) -> str:
        """The technician's id; "" if nobody has the job."""
        return self.technician.id if self.technician else ""


class JobView(EventJob, frozen=True, kw_only=True):
    """The decoded members of a job that code uses, from the JSON of a whole job or of its public part.

    All code uses this one type: it decodes in 1.1 times the time of a type with half the members, because the scan of
    the text is most of the work.
    """

    id: JobId
    zone: Zone
    blueprint: str
    service: ServiceId
    status: str
    phase: Phase
    version: int
    created_at: str
    updated_at: str
    reference: str | None = None
    scheduled_for: str | None = None
    room: RoomId | None = None
    photos: list[JobFile] = []
    """The photos; none in a public part."""
    at: dict[str, str] = {}
    """The time at which each state was first reached, and each mark was set."""


class _JobData(msgspec.Struct):
    """The data of an event that contains a job."""

    job: EventJob


_job_view_decoder = msgspec.json.Decoder(JobView)
_job_data_decoder = msgspec.json.Decoder(_JobData)


def decode_job(job: bytes | msgspec.Raw) -> JobView:
    """Decode a job's JSON."""
    return _job_view_decoder.decode(job)


def decode_event_job(data: bytes) -> EventJob:
    """Decode the job in an event's data. Raises msgspec.DecodeError if the data contains no job."""
    return _job_data_decoder.decode(data).job


def column_values(job: JobView) -> dict[str, Any]:
    """Return the values of the job's columns in SQL: the ids of the parties, times in ms since the Unix epoch."""
    return _column_format(dict(zip(COLUMN_MEMBERS, _column_members_of(job), strict=True)))


def decode_columns(document: bytes) -> tuple[str | None, dict[str, Any] | None]:
    """Return the id of the job in an event's data, and the same as ``column_values`` if the event contains all of the
    job, and not only its id or public part. Raises msgspec.DecodeError, and ValueError if a member is missing.
    """
    job = _columns_decoder.decode(document)
    if job is None or isinstance(job, str):
        return job or None, None
    if job.customer is None or job.version is None:
        return job.id or None, None
    values = msgspec.structs.asdict(job)
    if None in [values[name] for name in _REQUIRED_COLUMNS]:
        raise ValueError("the job lacks a member")
    return job.id, _column_format(values)


def _column_format(values: dict[str, Any]) -> dict[str, Any]:
    for name in _PARTY_COLUMNS:
        if values[name] is not None:
            values[name] = values[name].id
    for name in _TIME_COLUMNS:
        values[name] = ms_of(values[name])
    return values


def encode_members(members: Mapping[str, Any]) -> bytes:
    """Encode ``members`` as JSON without the outer braces, so that other members can be joined to the text."""
    return msgspec.json.encode(members)[1:-1]


def encode_public_members(members: Mapping[str, Any]) -> bytes:
    """Encode the public members of a job's record as JSON without the outer braces.

    They contain no customer, address, postal code, notes, reference or metadata (PROTOCOL §2). The position is rounded
    to about 100 m: three decimals of a degree are 111 m of latitude.
    """
    near = rounded_place(members)
    return encode_members({name: near.get(name, members[name]) for name in PUBLIC_RECORD_MEMBERS if name in members})


def rounded_place(members: Mapping[str, Any]) -> dict[str, float]:
    """Return the position of a job, rounded to about 100 m: technicians who do not hold the job see only this."""
    return {"lat": round(members["lat"], 3), "lon": round(members["lon"], 3)}


def public_part_of(job: bytes, *, holder: bool = False) -> bytes:
    """Return the public part of a whole job as JSON. Past versions of jobs and jobs in SQL need this function; for live
    jobs lua/lib/job.lua does the same. ``holder``: the caller is the only technician who was asked to do the job; only
    for them does the public part contain the technician.
    """
    found: dict[str, Any] = msgspec.json.decode(job)
    moving = {name: found[name] for name in _PUBLIC_STEP_MEMBERS if name in found}
    technician = found.get("technician") if holder else None
    return b"{" + encode_public_members(found) + b"," + encode_members({**moving, "technician": technician}) + b"}"


def decode_members(job_json: bytes) -> dict[str, Any]:
    """Decode JSON members without the outer braces, as ``encode_members`` returns them. Their order stays, because
    lua/lib/cost.lua takes the first match of a name.
    """
    found: dict[str, Any] = msgspec.json.decode(b"{" + job_json + b"}")
    return found
