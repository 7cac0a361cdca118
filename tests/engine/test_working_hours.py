"""Working hours: when a technician works, with nights, exceptions and changes of the clock."""

from __future__ import annotations

from datetime import datetime

import pytest

from engine.rules.working_hours import DateSpan, WeekSpan, WorkingHours, is_working, working_spans

BERLIN = "Europe/Berlin"


def ms(text: str) -> int:
    """Return a time in ISO 8601 in ms."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def hours(*week: WeekSpan, exceptions: tuple[DateSpan, ...] = ()) -> WorkingHours:
    """Return working hours in Berlin."""
    return WorkingHours(BERLIN, week, exceptions)


@pytest.mark.parametrize(
    ("given", "pointers"),
    [
        (WorkingHours("Mars/Olympus"), ["/tz"]),
        (WorkingHours("../passwd"), ["/tz"]),
        (WorkingHours("localtime"), ["/tz"]),  # names that only some hosts know
        (WorkingHours("posix/Europe/Berlin"), ["/tz"]),
        (WorkingHours("right/UTC"), ["/tz"]),
        (WorkingHours("US/Eastern"), []),
        (hours(WeekSpan(1, "08:00", "08:00")), ["/week/0/to"]),
        (
            hours(exceptions=(DateSpan("2026-02-30"), DateSpan("2026-02-28", "08:00"))),
            ["/exceptions/0/date", "/exceptions/1"],
        ),
        (hours(exceptions=(DateSpan("2026-02-28", "08:00", "08:00"),)), ["/exceptions/0/to"]),
        (hours(WeekSpan(7, "22:00", "06:00"), exceptions=(DateSpan("2028-02-29"),)), []),
    ],
)
def test_errors_are_named(given: WorkingHours, pointers: list[str]) -> None:
    """Each wrong value is named by its pointer."""
    assert [pointer for pointer, _ in given.find_errors()] == pointers


def test_a_technician_works_in_their_hours_alone() -> None:
    """A visit must be inside of one span of working time, in the technician's time zone."""
    given = hours(WeekSpan(1, "08:00", "12:00"), WeekSpan(1, "13:00", "17:00"))  # 2026-11-30 is a Monday
    assert not is_working(given, ms("2026-11-30T06:59:00Z"), ms("2026-11-30T08:00:00Z"))
    assert not is_working(given, ms("2026-11-30T10:30:00Z"), ms("2026-11-30T11:30:00Z"))
    assert not is_working(given, ms("2026-12-01T08:00:00Z"), ms("2026-12-01T09:00:00Z"))
    assert is_working(given, ms("2026-11-30T07:00:00Z"), ms("2026-11-30T11:00:00Z"))
    assert is_working(None, 0, 1)


def test_nights_and_spans_that_touch_are_one() -> None:
    """An end before the start is on the next day, and 24:00 touches the next midnight."""
    given = hours(WeekSpan(1, "22:00", "06:00"), WeekSpan(2, "06:00", "24:00"), WeekSpan(3, "00:00", "01:00"))
    [span] = working_spans(given, ms("2026-11-30T12:00:00Z"), ms("2026-12-03T12:00:00Z"))
    assert span == (ms("2026-11-30T22:00:00+01:00"), ms("2026-12-02T01:00:00+01:00"))


def test_an_exception_replaces_the_day() -> None:
    """An exception with times replaces the hours of its day; one without times is a day off. Work of the night before
    continues.
    """
    exceptions = (DateSpan("2026-12-01", "10:00", "11:00"), DateSpan("2026-12-02"))
    given = hours(*(WeekSpan(day, "20:00", "02:00") for day in (1, 2, 3)), exceptions=exceptions)
    assert working_spans(given, ms("2026-12-01T00:00:00+01:00"), ms("2026-12-03T00:00:00+01:00")) == [
        (ms("2026-11-30T20:00:00+01:00"), ms("2026-12-01T02:00:00+01:00")),
        (ms("2026-12-01T10:00:00+01:00"), ms("2026-12-01T11:00:00+01:00")),
    ]


def test_the_clock_changes_in_a_shift() -> None:
    """A night in which the clock is put back lasts an hour longer, and one in which it is put forward an hour less."""
    given = hours(WeekSpan(6, "22:00", "06:00"))
    for night, lasts_h in (("2026-10-24", 9), ("2026-03-28", 7)):
        [(first, last)] = working_spans(given, ms(f"{night}T12:00:00Z"), ms(f"{night}T23:30:00Z"))
        assert (last - first) / 3_600_000 == lasts_h
