"""The price of a blueprint's jobs: its source, and the factors of a quoted price."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from engine.rules.pricing import ONE
from engine.rules.surge import DemandTable

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 1440
_TIME_PATTERN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


class PeakWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Hours of the week with a factor ``by`` (per mille), in the zone's time zone. ``days`` are days and ranges of days
    (``mon-fri,sun``); ``from`` and ``to`` are times of day (``17:00``). If ``to`` is not after ``from``, the window
    ends on the next day.
    """

    days: str
    from_: str
    to: str
    by: int

    def minutes(self) -> Iterator[int]:
        """Yield the minutes of the week, from Monday 0:00, that are in the window. Raises ValueError if the days or
        times have another form.
        """
        first, last = _minute_of_day(self.from_), _minute_of_day(self.to)
        length = last - first if last > first else last - first + DAY_MINUTES
        for day in _days_of(self.days):
            start = day * DAY_MINUTES + first
            yield from (minute % (7 * DAY_MINUTES) for minute in range(start, start + length))

    def contains(self, moment: datetime) -> bool:
        """Return whether the window contains a moment, given in the zone's time zone."""
        first, last, minute = _minute_of_day(self.from_), _minute_of_day(self.to), moment.hour * 60 + moment.minute
        days = _days_of(self.days)
        if last > first:
            return moment.weekday() in days and first <= minute < last
        return (moment.weekday() in days and minute >= first) or ((moment.weekday() - 1) % 7 in days and minute < last)

    @property
    def text(self) -> str:
        """The window as people read it."""
        return f"{self.days} {self.from_} to {self.to}"


class TotalLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits (per mille) of the product of all factors."""

    min: int = ONE
    max: int = 2000


class Commission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the platform keeps of the money that a technician earns: ``per_mille`` of it. Their share can be paid out
    ``hold_s`` seconds after it was earned.
    """

    per_mille: int
    hold_s: float = 0.0

    @property
    def text(self) -> str:
        """The commission as lua/lib/earnings.lua reads it: `per_mille hold_ms`."""
        return f"{self.per_mille} {round(self.hold_s * 1000)}"


NO_COMMISSION = Commission(per_mille=0)
"""The commission of a blueprint that declares none."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The source of the price, and the states in which another price may be proposed. ``hours`` are two states, or
    names that commands write to the job's ``at``: an hourly price counts the hours between these two times.

    ``catalogue`` and ``customer`` only document who usually sets the price: a booking may name an amount with either;
    if it names none, the service's price applies. With ``quote`` no booking names an amount. The price is quoted
    before the booking, or in the step that creates the job, and is valid for ``quote_s`` seconds. It is the service's
    amount × ``demand`` (by area) × ``peak`` (by time), inside of ``total``, rounded to ``round_to`` minor units.
    """

    source: Literal["catalogue", "customer", "quote"] = "catalogue"
    propose: tuple[str, ...] = ()
    hours: tuple[str, ...] = ()
    demand: DemandTable | None = None
    peak: tuple[PeakWindow, ...] = ()
    total: TotalLimits | None = None
    round_to: int = 1
    quote_s: float = 600.0
    commission: Commission | None = None

    @property
    def is_quoted(self) -> bool:
        """Whether the price of a booking is a quote."""
        return self.source == "quote"

    @property
    def commission_text(self) -> str:
        """The commission as lua/lib/earnings.lua reads it."""
        return (self.commission or NO_COMMISSION).text

    @property
    def limits(self) -> TotalLimits:
        """The limits of the product of all factors: the declared ones, or the default ones."""
        return self.total or TotalLimits()

    def peak_at(self, moment: datetime) -> PeakWindow | None:
        """Return the window that contains a moment in the zone's time zone, or None. Windows do not overlap."""
        return next((window for window in self.peak if window.contains(moment)), None)


def _minute_of_day(text: str) -> int:
    match = _TIME_PATTERN.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no time of day, like 17:00")
    return int(match[1]) * 60 + int(match[2]) if match[1] else DAY_MINUTES


def _days_of(text: str) -> Sequence[int]:
    """Return the days of the week (0 is Monday) in a text such as ``mon-fri,sun``. Raises ValueError."""
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{text!r} are no days, like mon-fri,sun")
        start = DAYS.index(first)
        found += [(start + step) % 7 for step in range((DAYS.index(last or first) - start) % 7 + 1)]
    return found
