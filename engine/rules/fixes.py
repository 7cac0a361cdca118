"""A fix: a position as a device measures it, and the offset of the device's clock.

The script that takes the fix estimates the offset (lua/lib/device.lua) and stores it in the technician's live record
under ``clock``. The API shows it in seconds: how far the device's clock is ahead of the server's.
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated

import msgspec

Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180)]

EARLIEST_VALID_MS = 946_684_800_000
"""The start of the year 2000. A device that reports an earlier time has no valid clock."""
MAX_IGNORED_OFFSET_MS = 30_000
"""A clock offset up to this needs no correction."""


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """One measured position of a device. ``at`` is the time of the measurement in ms since the Unix epoch, by the
    device's clock; None means now.
    """

    lat: Latitude
    lon: Longitude
    at: int | None = None
    accuracy: float | None = None
    speed: float | None = None
    heading: float | None = None
    altitude: float | None = None

    @property
    def measured_at(self) -> int | None:
        """The time of the measurement (``at``); None if the device has no valid clock."""
        return self.at if self.at is not None and self.at >= EARLIEST_VALID_MS else None

    @property
    def accuracy_m(self) -> float | None:
        """The radius of the circle of error in metres; None if it was not measured (iOS sends -1, Android 0)."""
        return _value_within(self.accuracy, above=0.0, at_most=1e6)

    @property
    def degrees(self) -> float | None:
        """The heading from 0 to below 360; None if the device did not measure it (iOS sends -1)."""
        heading = _value_within(self.heading, above=-1e-9, at_most=360.0)
        return heading and heading % 360

    @property
    def speed_m_s(self) -> float | None:
        """The speed in metres a second; None if the device did not measure it (iOS sends -1)."""
        return _value_within(self.speed, above=-1e-9, at_most=1e4)


class FixRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often to send a fix: after ``every_s`` seconds or ``distance_m`` metres, whichever comes first."""

    every_s: int
    distance_m: int


IDLE_RATE, ON_JOB_RATE = FixRate(30, 250), FixRate(10, 100)
"""The rates of an app to which the server has sent none yet (lua/lib/fix_rate.lua has all rates)."""


class FixReply(msgspec.Struct, frozen=True):
    """The answer to a fix. ``clock_offset_s`` is how many seconds the device's clock is ahead of the server's; 0 if the
    difference is at most ``MAX_IGNORED_OFFSET_MS``.
    """

    online: bool
    clock_offset_s: float

    @property
    def needs_no_action(self) -> bool:
        """Whether the app need not react to this answer."""
        return self.online and not self.clock_offset_s


def _value_within(measured: float | None, *, above: float, at_most: float) -> float | None:
    """Return ``measured``; None if it is not between ``above`` (exclusive) and ``at_most`` (inclusive)."""
    return measured if measured is not None and isfinite(measured) and above < measured <= at_most else None


def confirmed_offset_ms(clock: bytes | None) -> int:
    """Return the confirmed offset in ms, by which the device's times are corrected; 0 if no offset is confirmed.
    ``clock`` is the field of the technician's record (lua/lib/device.lua).
    """
    known = clock.split()[0] if clock else b"-"
    return 0 if known == b"-" else int(known)


def api_offset_s(clock: bytes | None) -> float:
    """Return the offset in seconds for the API: the confirmed offset, or else the estimate from the first fix."""
    known, seen, _ = clock.split() if clock else (b"-", b"-", b"-")
    estimate = known if known != b"-" else seen
    offset = 0 if estimate == b"-" else int(estimate)
    return 0.0 if abs(offset) <= MAX_IGNORED_OFFSET_MS else round(offset / 1000, 1)


def parse_fix_rate(text: bytes | None, load: int = 0) -> FixRate:
    """Return the rate that was last sent to a technician's app. ``text`` is the field of the technician's record. If it
    is empty, ``load`` decides: how many jobs the technician has now that count for their capacity.
    """
    if not text:
        return ON_JOB_RATE if load > 0 else IDLE_RATE
    every_s, distance_m = text.split()
    return FixRate(int(every_s), int(distance_m))
