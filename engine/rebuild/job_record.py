"""The hash of a job, from its document and its state."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec

from engine.events import ms_of
from engine.rebuild.job_state import JobState
from engine.rules import job_document
from engine.rules.job_document import PUBLIC_RECORD_MEMBERS, RECORD_MEMBERS, Party

FIELDS_OF_EVERY_JOB = ("holder", "card", "at", "last", "claimed", "mode", "entered", "frozen", "unaccepted")
"""The fields that scripts compare with an empty text. For Lua a missing field is not empty: a job without the field
`frozen` would be frozen."""
_OPTIONAL_FIELDS = ("reference", "room", "promise", "photos")
_EMPTY_FIELDS = dict.fromkeys(FIELDS_OF_EVERY_JOB, "") | {"wave": "0", "begins": "0"}

_MISSING = msgspec.Raw(b"")
_RAW_MEMBERS = [(name, msgspec.Raw, _MISSING) for name in RECORD_MEMBERS]
_Record: Any = msgspec.defstruct("_Record", _RAW_MEMBERS, omit_defaults=True)
_PUBLIC_RAW_MEMBERS = [member for member in _RAW_MEMBERS if member[0] in PUBLIC_RECORD_MEMBERS]
_PublicRecord: Any = msgspec.defstruct("_PublicRecord", _PUBLIC_RAW_MEMBERS, omit_defaults=True)
"""The members of a job's record as they are in a document. A scan of the text is most of the work, so that each
document is decoded once, and what is needed of a member is decoded from its part of the text."""
_STEP_MEMBERS: list[Any] = [
    *(("status", str), ("phase", str), ("version", int), ("amount", int), ("updated_at", str), ("at", msgspec.Raw)),
    *(("technician", msgspec.Raw), ("room", str | None, None), ("asked", bool, False), ("promise", str | None, None)),
    *(("paid_amount", int, 0), ("refunded_amount", int, 0), ("photos", msgspec.Raw, _MISSING)),
]
_Document: Any = msgspec.defstruct("_Document", [*_RAW_MEMBERS, *_STEP_MEMBERS], kw_only=True)
"""The same with the members that steps change."""
_record_of, _public_record_of = attrgetter(*RECORD_MEMBERS), attrgetter(*PUBLIC_RECORD_MEMBERS)
_document_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Document)
_party_decoder = msgspec.json.Decoder(Party)
_decode, _encode = msgspec.json.decode, msgspec.json.encode


def job_fields(document: bytes, state: JobState) -> dict[str, str]:
    """Return the fields of the hash of a job: those that every job has, and of the others those that are not empty.
    ``document`` is the job as JSON, from its last event that contains all of it. A fact that both ``document`` and
    ``state`` have is taken from ``document``, except amounts of money and times that a step may change without an
    event.
    """
    job = _document_decoder.decode(document)
    found = _EMPTY_FIELDS | _sums_of_money(job) | _promise(job) | state.fields | _document_fields(job)
    for name in _OPTIONAL_FIELDS:
        if not found[name]:
            del found[name]
    return found


def _document_fields(job: Any) -> dict[str, str]:
    """Return the fields that a decoded document determines."""
    card = bytes(job.technician).decode()
    has_holder = card != "null"
    lat, lon, scheduled = _decode(job.lat), _decode(job.lon), _decode(job.scheduled_for or b"null")
    record, public = _Record(*_record_of(job)), _PublicRecord(*_public_record_of(job))
    place = job_document.rounded_place({"lat": lat, "lon": lon})
    public.lat, public.lon = msgspec.Raw(_encode(place["lat"])), msgspec.Raw(_encode(place["lon"]))
    return {
        "id": _decode(job.id),
        "status": job.status,
        "phase": job.phase,
        "version": str(job.version),
        "service": _decode(job.service),
        "lat": str(lat),
        "lon": str(lon),
        "amount": str(job.amount),
        "customer": _party_decoder.decode(job.customer).id,
        "holder": _party_decoder.decode(job.technician).id if has_holder else "",
        "card": card if has_holder else "",
        "full": _encode(record)[1:-1].decode(),
        "pub": _encode(public)[1:-1].decode(),
        "at": bytes(job.at).decode()[1:-1],
        "created": str(ms_of(_decode(job.created_at))),
        "updated": str(ms_of(job.updated_at)),
        "scheduled": str(ms_of(scheduled) if scheduled else 0),
        "reference": _decode(job.reference or b"null") or "",
        "unaccepted": "1" if job.asked else "",
        "room": job.room or "",
        "photos": "" if bytes(job.photos) in (b"", b"[]") else bytes(job.photos).decode(),
    }


def _promise(job: Any) -> dict[str, str]:
    """Return the promised arrival, without what only the state has: whether it is still watched."""
    return {"promise": str(ms_of(job.promise)) if job.promise else ""}


def _sums_of_money(job: Any) -> dict[str, str]:
    """Return the sums of a job's payments, where they are not 0."""
    sums = {"paid": job.paid_amount, "refunded": job.refunded_amount}
    return {field: str(amount) for field, amount in sums.items() if amount}
