"""Disputes and their resolutions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.fields import MediumText
from server.schemas.jobs import Job
from server.schemas.objects import Actor, Ref, Shape
from server.schemas.rooms import Room, RoomUser


class NewDispute(Body):
    reason: MediumText


class Resolution(Body):
    outcome: Literal["resume", "cancel", "complete"]
    note: MediumText | None = None


class DisputeReply(Shape):
    dispute: Dispute
    job: Job


class TakenDispute(Shape):
    """The dispute that the caller has taken, and the room of its job, if it is open."""

    dispute: Dispute
    room: Room | None


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


class EventDispute(Dispute, kw_only=True):
    """The dispute in an event's data. All mediators receive its id, job, status and, when it opens, its reason."""

    by: Actor | None = None  # type: ignore[assignment]
    reason: str | None = None  # type: ignore[assignment]
    opened_at: datetime | None = None  # type: ignore[assignment]


class MediationEventData(Shape):
    """The payload of two events: mediators are invited to the room of a job with a new dispute, or ``user`` became the
    dispute's mediator. The dispute has its id, job, status and reason.
    """

    dispute: EventDispute
    room: Annotated[Ref | None, Meta(description="left out if the job has no open room")] = None
    user: RoomUser | None = None
