"""Lists in pages, by keyset cursors: each page is as cheap as the first, and no row is skipped."""

from __future__ import annotations

import base64
from typing import Any, Generic, TypeVar

import msgspec

from engine.errors import FieldError, Invalid

T = TypeVar("T")

_INT64_LIMIT = 2**63
"""The limit of an integer column. A cursor with a number outside it was not made by this server."""

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


class Slice(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list. ``next`` is the cursor of the next page, or None after the last page."""

    items: list[T]
    next: str | None = None


def encode_cursor(*sort_values: str | int) -> str:
    """Encode the sort key of a page's last row as an opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(sort_values)).rstrip(b"=").decode()


def decode_cursor(cursor: str, value_types: Any) -> Any:
    """Decode a cursor to ``value_types``, a tuple type. Raises Invalid if it is not a cursor of this list."""
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=value_types)
        if any(isinstance(part, int) and abs(part) >= _INT64_LIMIT for part in place):
            raise ValueError("out of range")
        if any(isinstance(part, str) and "\0" in part for part in place):
            raise ValueError("PostgreSQL has no text with a zero byte")
    except ValueError:
        raise Invalid(errors=[FieldError("/cursor", "Not a cursor of this list")]) from None
    return place


def check_limit(limit: int) -> int:
    """Return ``limit``. Raises Invalid unless it is from 1 to 200."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid(errors=[FieldError("/limit", f"Expected 1 to {MAX_LIMIT}")])
    return limit


def make_slice(rows: list[T], limit: int, sort_values_of: Any) -> Slice[T]:
    """Return the page of the first ``limit`` rows. Read ``limit`` + 1 rows before: the last one only shows that there
    is a next page. ``sort_values_of`` returns the sort key of a row.
    """
    if len(rows) <= limit:
        return Slice(rows)
    return Slice(rows[:limit], encode_cursor(*sort_values_of(rows[limit - 1])))
