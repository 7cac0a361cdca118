"""Compute the record of a job: the canonical JSON that its customer signs.

The record is a pure function of those members of the job's JSON that no signature, payment or rebuild changes.
Therefore the record is the same while the job is in Redis, after a rebuild, and when only SQL has the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

import msgspec

from engine.rules.canonical import canonical_json, digest_of

RECORD_FORMAT = 1
CONSENTS = {
    1: "I have seen this record of the work with its photos. I confirm that the work is done as it says, and I agree"
    " that its amount is due.",
}
"""The texts to which a signature consents, by their versions. A text never changes, because signed digests contain it:
a new text gets a new version."""
NEWEST_CONSENT = max(CONSENTS)
POSITION_DECIMALS = Decimal(10) ** 7
"""Positions are integers of 1e-7 degrees, about a centimetre: canonical JSON has no floats."""


class JobRecord(NamedTuple):
    """A record: its canonical JSON, the SHA-256 of that in hexadecimal, and the version of the job from whose JSON it
    was made.
    """

    text: bytes
    sha256: str
    version: int


def record_of_job(job: bytes) -> JobRecord | None:
    """Return the record of a job from its whole JSON. The record of a signed job is the one that was signed. Return
    None if it can no longer be computed, because data of the job was erased.
    """
    members: dict[str, Any] = msgspec.json.decode(job)
    signed = members.get("signed")
    if not signed:
        return _encode_record(members, NEWEST_CONSENT)
    records = (_encode_record(members, version) for version in sorted(CONSENTS, reverse=True))
    return next((record for record in records if record.sha256 == signed["sha256"]), None)


def photo_digests(record: bytes) -> list[str]:
    """Return the SHA-256 of each photo in a record, each once. Raises ValueError if ``record`` is not one."""
    try:
        digests = [photo["sha256"] for photo in msgspec.json.decode(record)["photos"]]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it is no record") from error
    if not all(isinstance(digest, str) for digest in digests):
        raise ValueError("a digest is no text")
    return list(dict.fromkeys(digests))


def _encode_record(job: Mapping[str, Any], consent: int) -> JobRecord:
    quote, technician = job.get("quote"), job.get("technician")
    text = canonical_json(
        {
            "format": RECORD_FORMAT,
            **{name: job[name] for name in ("zone", "blueprint", "service")},
            "job": job["id"],
            "customer": job["customer"]["id"],
            "technician": technician["id"] if technician else None,
            "place": {
                "lat_e7": _fixed_point(job["lat"]),
                "lon_e7": _fixed_point(job["lon"]),
                "address": job["address"],
                "postal_code": job.get("postal_code"),
            },
            "times": {
                "created_at": job["created_at"],
                "scheduled_for": job.get("scheduled_for"),
                "duration_min": job.get("duration_min"),
                "at": _times_before_signature(job),
            },
            "price": {
                **{name: job[name] for name in ("amount", "currency", "pricing")},
                "quote": {"id": quote["id"], "amount": quote["amount"]} if quote else None,
            },
            "photos": [{"sha256": photo["sha256"], "kind": photo["kind"]} for photo in job.get("photos") or ()],
            "consent": {"version": consent, "text": CONSENTS[consent]},
        }
    )
    return JobRecord(text, digest_of(text), job["version"])


def _times_before_signature(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the times of the job's states and marks before the signature. The step that signs is at least a
    millisecond later than all steps before it (lua/lib/signature.lua).
    """
    signed_at = job["signed"]["at"] if job.get("signed") else None
    return {name: at for name, at in job["at"].items() if signed_at is None or at < signed_at}


def _fixed_point(degrees: float) -> int:
    return int((Decimal(repr(degrees)) * POSITION_DECIMALS).to_integral_value(ROUND_HALF_EVEN))
