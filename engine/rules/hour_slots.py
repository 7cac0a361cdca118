"""Hours of the week in a zone's own time zone. An *hour* is the number of whole hours since the Unix epoch, in UTC. Its
*slot* is the hour of the week that clocks of the zone show when it begins, from 0 (Monday, midnight) to 167.

When clocks change, a week has 167 or 169 hours: one slot is missing, or occurs twice. The other slots stay the same.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

WEEK_HOURS = 168
HOUR_MS = 3_600_000


class HourSlots:
    """The slots of the hours of one time zone, by its IANA name. Raises ValueError for a name that is unknown."""

    def __init__(self, timezone: str) -> None:
        self.timezone = timezone
        try:
            self._zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{timezone!r} is not a time zone like Europe/Berlin") from None
        self._known: dict[int, int] = {}

    def slot_of(self, hour: int) -> int:
        """Return the slot of an hour."""
        slot = self._known.get(hour)
        if slot is None:
            if len(self._known) > 4 * WEEK_HOURS:
                self._known.clear()
            local = datetime.fromtimestamp(hour * 3600, self._zone)
            slot = self._known[hour] = local.weekday() * 24 + local.hour
        return slot


def hour_of(at_ms: int) -> int:
    """Return the hour that contains a time in ms since the Unix epoch."""
    return at_ms // HOUR_MS
