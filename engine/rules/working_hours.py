"""A technician's working hours: a week that repeats, in their time zone, and days that differ from it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from engine.errors import FieldError
from engine.rules.timezones import is_timezone

MAX_SPANS_OF_WEEK, MAX_EXCEPTIONS = 50, 400
"""The most entries of a week, and the most exceptions, which are enough for each day of a year."""

Span = tuple[int, int]
"""Start and end in ms since the Unix epoch."""


class WeekSpan(msgspec.Struct, frozen=True, rename={"starts": "from", "ends": "to"}):
    """Working time on a ``day`` of each week: 1 is Monday, 7 is Sunday (ISO 8601). ``starts`` and ``ends`` are
    ``HH:MM``; an end that is not after the start is on the next day, and ``24:00`` is the end of the day.
    """

    day: int
    starts: str
    ends: str


class DateSpan(msgspec.Struct, frozen=True, rename={"starts": "from", "ends": "to"}, omit_defaults=True):
    """Working time on one ``date`` (``YYYY-MM-DD``), instead of that of the week. Without ``starts`` and ``ends`` the
    technician does not work on that date.
    """

    date: str
    starts: str | None = None
    ends: str | None = None


class WorkingHours(msgspec.Struct, frozen=True):
    """The working hours of a technician. ``tz`` is a name of the IANA database. Several entries for one day, or for one
    date, count together.
    """

    tz: str
    week: tuple[WeekSpan, ...] = ()
    exceptions: tuple[DateSpan, ...] = ()

    def find_errors(self) -> list[FieldError]:
        """Return the errors that the types of the fields do not exclude."""
        errors = [] if is_timezone(self.tz) else [FieldError("/tz", "No time zone of the IANA database")]
        for position, span in enumerate(self.week):
            if span.starts == span.ends:
                errors.append(FieldError(f"/week/{position}/to", "The same as from: 00:00 to 24:00 is a whole day"))
        for position, each in enumerate(self.exceptions):
            if (each.starts is None) != (each.ends is None):
                errors.append(FieldError(f"/exceptions/{position}", "from and to come together, or neither does"))
            elif each.starts is not None and each.starts == each.ends:
                errors.append(FieldError(f"/exceptions/{position}/to", "The same as from"))
            if not _is_date(each.date):
                errors.append(FieldError(f"/exceptions/{position}/date", "No date"))
        return errors


def working_spans(hours: WorkingHours, start: int, end: int) -> list[Span]:
    """Return when a technician works between ``start`` and ``end`` (ms), in order. Spans that touch are one."""
    return list(_merge(sorted(_spans_of_days(hours, start, end))))


def is_working(hours: WorkingHours | None, start: int, end: int) -> bool:
    """Return whether a technician works all the time from ``start`` to ``end`` (ms). Without hours they always do."""
    return working_check(hours, start, end)(start, end)


def working_check(hours: WorkingHours | None, start: int, end: int) -> Callable[[int, int], bool]:
    """Return ``is_working`` for these hours, for times from ``start`` to ``end`` (ms). The spans are computed once."""
    if hours is None:
        return lambda _start, _end: True
    spans = working_spans(hours, start, end)
    return lambda start, end: any(first <= start and end <= last for first, last in spans)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


@functools.lru_cache(maxsize=1_000)
def _load_timezone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _spans_of_days(hours: WorkingHours, start: int, end: int) -> Iterator[Span]:
    """Yield the spans of each day from the one before ``start`` to that of ``end``."""
    zone = _load_timezone(hours.tz)
    exceptions: dict[str, list[DateSpan]] = {}
    for each in hours.exceptions:
        exceptions.setdefault(each.date, []).append(each)
    day = _local_date(start, zone) - timedelta(days=1)
    while day <= _local_date(end, zone):
        spans: Iterable[WeekSpan | DateSpan] = exceptions.get(day.isoformat(), ())
        if not spans:
            spans = (span for span in hours.week if span.day == day.isoweekday())
        for span in spans:
            if span.starts is not None and span.ends is not None:
                next_day = day + timedelta(days=1) if span.ends <= span.starts else day
                first, last = _moment(day, span.starts, zone), _moment(next_day, span.ends, zone)
                if first < last and first < end and last > start:
                    yield first, last
        day += timedelta(days=1)


def _local_date(at: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(at / 1000, zone).date()


def _moment(day: date, clock: str, zone: ZoneInfo) -> int:
    """Return the time (ms) at which clocks in ``zone`` show ``clock`` on ``day``. If they skip it, it is the time at
    which they would have shown it; if they show it twice, it is the first time.
    """
    hour, minute = map(int, clock.split(":"))
    midnight = datetime(day.year, day.month, day.day) + timedelta(hours=hour, minutes=minute)
    return round(midnight.replace(tzinfo=zone).astimezone(UTC).timestamp() * 1000)


def _merge(spans: Iterable[Span]) -> Iterator[Span]:
    current: Span | None = None
    for span in spans:
        if current is not None and span[0] <= current[1]:
            current = current[0], max(current[1], span[1])
            continue
        if current is not None:
            yield current
        current = span
    if current is not None:
        yield current
