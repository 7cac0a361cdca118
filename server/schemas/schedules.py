"""The schedule of a technician, and their working hours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, field

from engine.rules.working_hours import MAX_EXCEPTIONS, MAX_SPANS_OF_WEEK, DateSpan, WeekSpan, WorkingHours
from server.schemas.decode import Body
from server.schemas.objects import Shape

START_PATTERN, END_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)", r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$(?!\n)"
Start = Annotated[str, Meta(pattern=START_PATTERN, description="HH:MM")]
End = Annotated[str, Meta(pattern=END_PATTERN, description="HH:MM, up to 24:00; not after `from`: on the next day")]
Day = Annotated[int, Meta(ge=1, le=7, description="1 is Monday, 7 is Sunday")]
Date = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", description="YYYY-MM-DD")]
TimeZone = Annotated[str, Meta(min_length=1, max_length=64, description="a name of the IANA database: Europe/Rome")]


class WeekHours(Body, rename={"starts": "from", "ends": "to"}):
    """Working time on a day of each week."""

    day: Day
    starts: Start
    ends: End


class DateHours(Body, rename={"starts": "from", "ends": "to"}):
    """Working time on one date, instead of that of the week. Without `from` and `to` it is a day off."""

    date: Date
    starts: Start | None = None
    ends: End | None = None


class PutHours(Body):
    """The working hours that replace the present ones."""

    tz: TimeZone
    week: Annotated[list[WeekHours], Meta(max_length=MAX_SPANS_OF_WEEK)] = field(default_factory=list)
    exceptions: Annotated[list[DateHours], Meta(max_length=MAX_EXCEPTIONS)] = field(default_factory=list)

    def working_hours(self) -> WorkingHours:
        """Return the hours as the engine stores them."""
        week = tuple(WeekSpan(each.day, each.starts, each.ends) for each in self.week)
        exceptions = tuple(DateSpan(each.date, each.starts, each.ends) for each in self.exceptions)
        return WorkingHours(self.tz, week, exceptions)


class WeekSpanItem(Shape, rename={"starts": "from", "ends": "to"}):
    day: int
    starts: str
    ends: str


class DateSpanItem(Shape, rename={"starts": "from", "ends": "to"}):
    date: str
    starts: str | None = None
    ends: str | None = None


class Hours(Shape):
    """The working hours of a technician, in the time zone ``tz``. ``exceptions`` replace the ``week`` on their days."""

    tz: str
    week: list[WeekSpanItem]
    exceptions: list[DateSpanItem]


class HoursReply(Shape):
    hours: Hours


class Visit(Shape, rename={"starts": "from", "ends": "to"}):
    """When a technician works on a job. ``booked`` is whether the job has a time. Between this visit and any other
    there are at least ``buffer_s`` seconds and the travel time. ``travel_s`` is the travel time from the visit before
    (P80).
    """

    job: str
    starts: datetime
    ends: datetime
    booked: bool
    buffer_s: float
    travel_s: int | None = None


class Schedule(Shape):
    """The jobs that a technician holds, by their times. Without ``hours`` they can be booked for any time."""

    technician: str
    hours: Hours | None
    visits: list[Visit]


class ScheduleReply(Shape):
    schedule: Schedule
