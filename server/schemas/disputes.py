"""Disputes and their resolutions."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from server.schemas.decode import Body
from server.schemas.fields import MediumText
from server.schemas.jobs import Job
from server.schemas.objects import Actor, Shape


class NewDispute(Body):
    reason: MediumText


class Resolution(Body):
    outcome: Literal["resume", "cancel", "complete"]
    note: MediumText | None = None


class DisputeReply(Shape):
    dispute: Dispute
    job: Job


class Dispute(Shape):
    """A disagreement of the two sides of a job, and how a mediator resolved it. Until then the job is frozen."""

    id: str
    job: str
    by: Actor
    reason: str
    opened_at: datetime
    status: Literal["open", "resolved"]
    outcome: Literal["resume", "cancel", "complete"] | None = None
    note: str | None = None
    mediator: Actor | None = None
    resolved_at: datetime | None = None
