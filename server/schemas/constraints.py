"""Additions to the types of requests in the OpenAPI document: texts, and rules across fields as JSON Schema."""

from __future__ import annotations

from typing import Any

from msgspec import Meta

Schema = dict[str, Any]

REFERENCE_TEXT = (
    "The caller's own name for the booking, unique forever among the caller's bookings. If the same booking is sent "
    "again with this reference, with any request key, the answer is the first job, also if that job is over. Another "
    "booking with this reference is refused as `duplicate`, with the first job's id in `job.id`."
)
METADATA_TEXT = (
    "The caller's own data about the job: any JSON object. It is stored and returned unchanged, and never interpreted. "
    "At most 4,096 bytes, 16 levels and integers of 53 bits. Technicians who are only offered the job do not see it."
)
TECHNICIAN_TEXT = (
    "The technician who is to do the job, for `assign` and `reassign`. `reassign` without it takes the job from its "
    "holder and offers it to others."
)
FORCE_TEXT = (
    "For `assign` and `reassign`: gives the job to `technician` even if they do not have its service, or hold as "
    "many jobs as their `capacity` allows."
)

_NULL = {"type": "null"}
_POSITION: Schema = {"lat": {"type": "number"}, "lon": {"type": "number"}}
_NO_POSITION: Schema = {"lat": _NULL, "lon": _NULL}

OPTIONAL_POSITION: Schema = {
    "anyOf": [{"required": ["lat", "lon"], "properties": _POSITION}, {"properties": _NO_POSITION}]
}
"""The rule that a request has both coordinates or none. Null counts as none."""
LAT_WITH_LON: Schema = {"dependentRequired": {"lat": ["lon"], "lon": ["lat"]}}
"""The rule that a request has both coordinates or none, for fields that are never null."""
ONE_FIX_OR_SEVERAL: Schema = {
    "anyOf": [
        {"required": ["lat", "lon"], "properties": {**_POSITION, "fixes": _NULL}},
        {"required": ["fixes"], "properties": {**_NO_POSITION, "fixes": {"type": "array"}}},
    ]
}
"""The rule that a request has either a position or a list of positions."""


WHOLE_SIGNATURE: Schema = {
    "anyOf": [
        {"maxProperties": 0},
        {"required": ["sha256", "name", "image"], "not": {"required": ["strokes"]}},
        {"required": ["sha256", "name", "strokes"], "not": {"required": ["image"]}},
    ]
}
"""The rule that a request has a whole signature, with an image or with strokes, or nothing."""

_REFUND_STATUS = {"enum": ["refunded", "failed"]}
REFUND_OF_CHARGE: Schema = {"anyOf": [{"properties": {"status": _REFUND_STATUS}}, {"properties": {"of": _NULL}}]}
"""The rule that only a refund names a charge."""


def require_one_of(*names: str) -> Schema:
    """Return a rule in JSON Schema: at least one of the fields ``names`` is a text."""
    return {"anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in names]}


def describe_field(text: str) -> Meta:
    """Return a description of a field for the OpenAPI document. Refusals contain the description of the field's type
    instead.
    """
    return Meta(extra_json_schema={"description": text})
