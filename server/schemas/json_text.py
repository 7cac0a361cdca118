"""Check JSON as a text, before or besides its decoding, fast enough for the event loop."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.errors import FieldError

NUL = b"\\u0000"
"""JSON with a NUL in a text contains these bytes. JSON with these bytes may still have no NUL: ``\\\\u0000`` is an
escaped backslash before ``u0000``.
"""
_find_nul_escape = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search
MAX_ERRORS = 100
"""The most wrong fields in one refusal: more than a person reads. Further ones are omitted."""

MAX_VALUES = 25_000
"""The most values of a body. A signature of 5,000 points has 20,500; to decode 180,000 numbers takes 10 ms."""
MAX_CHECKED_VALUES, MAX_CHECKED_BYTES = 2_000, 64 * 1024
"""In a body with more values or bytes only the first wrong field is named, and 50.0 is no integer: to check each value
takes some microseconds, and the event loop waits.
"""


def is_large(raw: bytes) -> bool:
    """Return whether JSON is too large to check each of its values."""
    return len(raw) > MAX_CHECKED_BYTES or has_many_values(raw, MAX_CHECKED_VALUES)


def has_many_values(raw: bytes, most: int) -> bool:
    """Return whether JSON may have more than ``most`` values. Commas and brackets in texts count too."""
    return len(raw) > most and raw.count(b",") + raw.count(b"[") + raw.count(b"{") > most


def find_nul(raw: bytes) -> list[FieldError]:
    """Return an error for each text with a NUL in JSON that is valid, at most ``MAX_ERRORS``."""
    if NUL not in raw or _find_nul_escape(raw) is None:
        return []
    if is_large(raw):
        return [FieldError("", "Text without NUL, please")]
    return nul_errors(msgspec.json.decode(raw))[:MAX_ERRORS]


def nul_errors(value: Any, at: str = "") -> list[FieldError]:
    """Return an error for every text inside ``value`` that contains NUL, which PostgreSQL does not store. It is checked
    once for all texts of a request. If the name of a field contains NUL, the error points at the object of that field.
    """
    if isinstance(value, str):
        return [FieldError(at, "Text without NUL, please")] if "\0" in value else []
    if isinstance(value, dict):
        names = [error for name in value for error in nul_errors(name, at)]
        return names or [
            error for name, item in value.items() for error in nul_errors(item, at + json_pointer(str(name)))
        ]
    items = value if isinstance(value, list) else ()
    return [error for n, item in enumerate(items) for error in nul_errors(item, f"{at}/{n}")]


def json_pointer(path: str) -> str:
    """Return ``path`` as one step of a JSON pointer."""
    return "/" + path.replace("~", "~0").replace("/", "~1")
