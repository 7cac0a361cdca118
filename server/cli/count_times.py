"""Times of CSV files: ISO 8601, or day, month and year in numbers, whose order is found in the file itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NUMBERS = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?:[ T](\d{1,2}):(\d\d)(?::(\d\d)(?:\.\d+)?)?)?")


class TimeReader:
    """Parses the times of one column. Raises ValueError if ``timezone`` is unknown, or if some of ``texts`` have the
    day first and others the month.
    """

    def __init__(self, texts: Sequence[str], timezone: str) -> None:
        try:
            self._timezone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{timezone!r} is not a time zone like Europe/Berlin") from None
        pairs = {(int(found[1]), int(found[2])) for text in set(texts) if (found := _NUMBERS.fullmatch(text.strip()))}
        day_first = any(first > 12 for first, _ in pairs)
        if day_first and any(second > 12 for _, second in pairs):
            raise ValueError("some dates have the day first, others the month")
        self._day_first = day_first

    def parse(self, text: str) -> datetime:
        """Return the time in UTC. Raises ValueError."""
        text = text.strip()
        numbers = _NUMBERS.fullmatch(text)
        try:
            if numbers:
                first, second, year, hour, minute, seconds = (int(part or 0) for part in numbers.groups())
                day, month = (first, second) if self._day_first else (second, first)
                at = datetime(year, month, day, hour, minute, seconds)
            else:
                at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=self._timezone)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError(f"{text!r} is not a time like 2024-01-31T15:00 or 1/31/2024 15:00") from None
