"""The hash of a job, from its document and its state."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.events import ms_of
from engine.rebuild.job_state import JobState
from engine.rules import job_document

FIELDS_OF_EVERY_JOB = ("holder", "card", "at", "last", "claimed", "mode", "entered", "frozen", "unaccepted")
"""The fields that scripts compare with an empty text. For Lua a missing field is not empty: a job without the field
`frozen` would be frozen."""

_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def job_fields(document: bytes, state: JobState) -> dict[str, str]:
    """Return the fields of the hash of a job: those that every job has, and of the others those that are not empty.
    ``document`` is the job as JSON, from its last event that contains all of it. What both have is taken from the
    document, but for numbers of money and times that a step may change without an event.
    """
    members = _members_decoder.decode(document)
    found = dict.fromkeys(FIELDS_OF_EVERY_JOB, "") | {"wave": "0", "begins": "0"}
    found |= {**_sums_of_money(members), **state.fields, **_document_fields(document, members)}
    return {name: text for name, text in found.items() if text or name in FIELDS_OF_EVERY_JOB}


def _document_fields(document: bytes, members: dict[str, msgspec.Raw]) -> dict[str, str]:
    fixed = {name: raw for name, raw in members.items() if name in job_document.RECORD_MEMBERS}
    plain: dict[str, Any] = msgspec.json.decode(document)
    holder, scheduled = plain["technician"], plain.get("scheduled_for")
    return {
        **{name: str(plain[name]) for name in ("id", "status", "phase", "version", "service", "lat", "lon", "amount")},
        "customer": plain["customer"]["id"],
        "holder": holder["id"] if holder else "",
        "card": bytes(members["technician"]).decode() if holder else "",
        "full": job_document.encode_members(fixed).decode(),
        "pub": job_document.encode_public_members({name: plain[name] for name in fixed}).decode(),
        "at": bytes(members["at"]).decode()[1:-1],
        "created": str(ms_of(plain["created_at"])),
        "updated": str(ms_of(plain["updated_at"])),
        "scheduled": str(ms_of(scheduled) if scheduled else 0),
        "reference": plain.get("reference") or "",
        "unaccepted": "1" if plain.get("asked") else "",
        "room": plain.get("room") or "",
    }


def _sums_of_money(members: dict[str, msgspec.Raw]) -> dict[str, str]:
    """Return the sums of a job's payments, where they are not 0."""
    sums = {"paid": "paid_amount", "refunded": "refunded_amount"}
    found = {field: bytes(members[name]).decode() for field, name in sums.items() if name in members}
    return {field: text for field, text in found.items() if text != "0"}
