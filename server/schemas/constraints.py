"""What the OpenAPI document says of requests beside their types: texts, and what holds across fields in JSON Schema."""

from __future__ import annotations

from typing import Any

from msgspec import Meta

Schema = dict[str, Any]

REFERENCE = (
    "The caller's own name for the booking, unique for ever among the caller's. The same booking again under it, with "
    "any request key, answers its first job, also when that is over; another booking is `duplicate`, with the first "
    "job's id in `job.id`."
)
METADATA = (
    "The caller's own data about the job: any JSON object, kept and given back as it is, and never looked at. At most "
    "4,096 bytes, 16 levels and integers of 53 bits. Who is only offered the job does not see it."
)
TECHNICIAN = (
    "Who is to do the job, for `assign` and `reassign`. `reassign` without it takes the job from its holder and offers "
    "it anew to others."
)
FORCE = (
    "For `assign` and `reassign`: gives the job to `technician` though they do not have its service, or hold as many "
    "jobs as their `capacity` allows."
)

_NULL = {"type": "null"}
_NUMBERS: Schema = {"lat": {"type": "number"}, "lon": {"type": "number"}}
_NONE: Schema = {"lat": _NULL, "lon": _NULL}

PERHAPS_HERE: Schema = {"anyOf": [{"required": ["lat", "lon"], "properties": _NUMBERS}, {"properties": _NONE}]}
"""A whole position or none, where null is none."""
BOTH: Schema = {"dependentRequired": {"lat": ["lon"], "lon": ["lat"]}}
"""The same where neither is ever null."""
FIXES: Schema = {
    "anyOf": [
        {"required": ["lat", "lon"], "properties": {**_NUMBERS, "fixes": _NULL}},
        {"required": ["fixes"], "properties": {**_NONE, "fixes": {"type": "array"}}},
    ]
}
"""A position, or a list of them."""


OF_A_CHARGE: Schema = {"anyOf": [{"properties": {"status": {"const": "refunded"}}}, {"properties": {"of": _NULL}}]}
"""Only a refund is of a charge."""


def one_of(*names: str) -> Schema:
    """At least one of these texts is given."""
    return {"anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in names]}


def says(text: str) -> Meta:
    """What the document says of a field; a refusal says only what its type is."""
    return Meta(extra_json_schema={"description": text})
