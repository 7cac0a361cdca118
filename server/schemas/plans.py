"""Day plans: which booked jobs of a date should go to another technician."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from msgspec import Meta, field

from server.schemas.decode import Body
from server.schemas.fields import Id, ZoneName
from server.schemas.objects import Shape


class NewPlan(Body):
    """A day plan to compute: for the bookings of ``date`` in the zone's time zone, and for these ``technicians`` or all
    of the zone. ``fixed`` says which jobs stay with their technicians: those that are ``started``, or also those that
    are ``accepted``.
    """

    zone: ZoneName
    date: dt.date
    technicians: Annotated[list[Id], Meta(min_length=1, max_length=1000)] | None = None
    fixed: Literal["started", "accepted"] = "started"
    budget_s: Annotated[float, Meta(ge=0.1, le=10, description="seconds for the search")] = 2.0


class PlanMove(Shape):
    """A job that should go from a technician (null: it waits for one) to another. ``at`` is the job's time, which does
    not change.
    """

    job: str
    version: int
    from_: str | None = field(name="from")
    to: str
    at: dt.datetime


class PlanGroup(Shape):
    """Moves that are possible only together. ``saves_s`` is the travel time that they save, if the groups before it are
    applied; it is negative if a waiting job costs more travel.
    """

    moves: list[PlanMove]
    saves_s: int


class Plan(Shape):
    """A day plan. Once it is ready, it has ``groups``, ``unserved`` (waiting jobs for which nobody has time) and
    ``expires_at`` (until when it can be applied).
    """

    id: str
    zone: str
    date: dt.date
    fixed: Literal["started", "accepted"]
    state: Literal["computing", "ready", "failed", "applied"]
    groups: list[PlanGroup] | None = None
    unserved: list[str] | None = None
    expires_at: dt.datetime | None = None


class PlanReply(Shape):
    plan: Plan


class RefusedGroup(Shape):
    """A group, by its place in ``groups`` from 0, that was not applied, the job that prevents it, and the reason as an
    error code.
    """

    group: int
    job: str
    code: str


class AppliedPlan(Shape):
    """The places of the groups that are applied, by this request or an earlier one, and the groups that are refused."""

    applied: list[int]
    refused: list[RefusedGroup]
