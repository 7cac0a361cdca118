"""Types of fields that several requests share, with their bounds, and the checks that a type cannot express.

The engine checks whether a value is allowed. These types check whether it is well formed, so that nothing malformed
reaches the engine. Bounds that PROTOCOL does not define are generous. They are defined only here, and the OpenAPI
document shows them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta
from msgspec.json import encode

from engine.errors import FieldError
from engine.rules import currencies
from server.schemas import text
from server.schemas.decode import MAX_EXACT_INTEGER, Body

NORMALISED_TEXT = {"normalise": text.normalise_text}
Lat = Annotated[float, Meta(ge=-90, le=90, description="degrees, WGS 84")]
Lon = Annotated[float, Meta(ge=-180, le=180, description="degrees, WGS 84")]
Moment = Annotated[datetime, Meta(tz=True)]
Amount = Annotated[int, Meta(ge=0, le=10**12, description="integer minor units")]
DurationMin = Annotated[int, Meta(ge=1, le=1_440, description="minutes, at most a day")]
Currency = Annotated[currencies.Currency, Meta(description="an ISO 4217 code in capitals")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)", description="an id: letters, digits, _ and -")]
ZoneName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$(?!\n)", description="a zone: lower case, digits and -")]
Name = Annotated[
    str,
    Meta(
        max_length=200,
        pattern=text.NAME_PATTERN,
        description="one line of visible text without control characters, at most 200",
        extra=NORMALISED_TEXT,
    ),
]
ShortText = Annotated[
    str,
    Meta(max_length=64, pattern=text.LINE_PATTERN, description="one line of text, at most 64", extra=NORMALISED_TEXT),
]
MediumText = Annotated[
    str,
    Meta(
        max_length=500,
        pattern=text.LINES_PATTERN,
        description="text of a line or more, at most 500",
        extra=NORMALISED_TEXT,
    ),
]
LongText = Annotated[
    str,
    Meta(
        max_length=4000, pattern=text.TEXT_PATTERN, description="text without NUL, at most 4000", extra=NORMALISED_TEXT
    ),
]
Phone = Annotated[
    str,
    Meta(
        pattern=r"^\s*\+?\d[\d ()./-]{2,31}\s*$",
        description="a telephone number: digits of any script, perhaps a +",
        extra={"normalise": text.normalise_digits},
    ),
]
Email = Annotated[
    str,
    Meta(
        max_length=300,
        pattern=r"^\s*[^@\s\x00]+@[^@\s\x00]+\s*$",
        description="an e-mail address",
        extra=NORMALISED_TEXT,
    ),
]
Password = Annotated[str, Meta(min_length=8, max_length=256)]
Token = Annotated[str, Meta(min_length=1, max_length=4096)]
CookieName = Annotated[
    str,
    Meta(pattern=r"^[a-z]{1,16}$(?!\n)", description="the app whose session is in a cookie: 1 to 16 letters a to z"),
]
Version = Annotated[int, Meta(ge=0, le=2**53)]
TRACE = r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
Trace = Annotated[str, Meta(pattern=rf"^{TRACE}$(?!\n)", description="a traceparent (W3C Trace Context), version 00")]
Code = Annotated[
    str,
    Meta(
        max_length=32,
        pattern=r"^\s*\d{6}\s*$(?!\n)",
        description="six digits, of any script",
        extra={"normalise": text.normalise_digits},
    ),
]
Pricing = Literal["flat", "hourly"]
MAX_METADATA_DEPTH = 16
MAX_TIME_MS = 253_402_300_799_999
"""The end of the year 9999, in ms since the Unix epoch: RFC 3339 writes years with four digits."""


def position_errors(lat: Any, lon: Any, not_sent: Any = None) -> list[FieldError]:
    """Return an error if only one of ``lat`` and ``lon`` was sent. ``not_sent`` is the value of a field that was not
    sent.
    """
    if (lat is not_sent) == (lon is not_sent):
        return []
    return [FieldError("/lat" if lat is not_sent else "/lon", "lat and lon go together")]


def json_errors(value: dict[str, Any], at: str, max_bytes: int) -> list[FieldError]:
    """Return an error if the JSON object ``value`` is too deep, is larger than ``max_bytes``, or has integers
    that are not exact in every JSON reader. ``at`` is the JSON pointer of ``value``.
    """
    if len(encode(value)) > max_bytes:  # first, since the other check takes a microsecond a value
        return [FieldError(at, f"At most {max_bytes} bytes")]
    problem = _json_problem(value, MAX_METADATA_DEPTH)
    return [FieldError(at, problem)] if problem else []


def _json_problem(value: Any, levels_left: int) -> str | None:
    if levels_left < 0:
        return f"At most {MAX_METADATA_DEPTH} levels deep"
    if isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        return "Integers of at most 53 bits"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((problem for item in inner if (problem := _json_problem(item, levels_left - 1))), None)


def sent_fields(body: Body) -> dict[str, Any]:
    """Return the fields of a patch that were sent, by name."""
    return {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}


def to_ms(moment: datetime | None) -> int | None:
    """Convert a time to ms since the Unix epoch, the engine's unit. A time before 1970 becomes 0. A time that is after
    the year 9999 in UTC, because of its offset, becomes the last ms of that year. None stays None.
    """
    return None if moment is None else min(max(0, round(moment.timestamp() * 1000)), MAX_TIME_MS)
