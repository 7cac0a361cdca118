"""Check the time of the work in a booking, an edit, a quote, a search for slots or a day plan: it is neither past nor
too far in the future.
"""

from __future__ import annotations

from datetime import date

from engine.errors import FieldError, Invalid

MAX_PAST_MS = 60_000
"""How far in the past (ms) a time may be, because clocks differ."""
LAST_MS = 9_999_999_999_999
"""The last time (ms since the Unix epoch) for which work may be wanted: 2286-11-20T17:46:39.999Z. Lua writes 14 digits
of a number, so it would round the visits of far years, and the last day of the year 9999 has no end.
"""
LAST_DATE = date(2286, 11, 19)
PAST_TEXT = "Not before now"
FAR_TEXT = f"Not after {LAST_DATE}"


def check_work_time(pointer: str, when: int, now: int) -> None:
    """Raise Invalid, with this pointer, if ``when`` (ms) is before ``now`` or too far in the future."""
    _check(pointer, when < now - MAX_PAST_MS, when > LAST_MS)


def check_work_date(pointer: str, day: date, today: date) -> None:
    """Raise Invalid, with this pointer, if ``day`` is over or too far in the future."""
    _check(pointer, day < today, day > LAST_DATE)


def _check(pointer: str, is_past: bool, is_far: bool) -> None:
    if is_past or is_far:
        raise Invalid(errors=[FieldError(pointer, PAST_TEXT if is_past else FAR_TEXT)])
