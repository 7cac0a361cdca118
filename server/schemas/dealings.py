"""What is agreed and paid over a job, in the manner of server/schemas/objects.py: bids, payments, disputes."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from server.schemas.objects import Actor, Person, Shape


class Bid(Shape):
    """What a technician offers to do a job for; ``amount`` null: for what the customer offers. ``version`` is the job's
    at that instant.
    """

    id: str
    job: str
    technician: Person
    amount: int | None
    note: str | None
    status: Literal["open", "accepted", "declined", "withdrawn", "closed"]
    created_at: datetime
    version: int | None = None


class Payment(Shape):
    """What is asked for, and what the payment service says came of it, under a ``reference`` of its own; ``of`` is the
    reference of the charge that a refund is of.
    """

    id: str
    status: Literal["requested", "captured", "refunded", "failed"]
    amount: int
    currency: str
    kind: Literal["charge", "refund"] | None = None
    reference: str | None = None
    of: str | None = None
    created_at: datetime | None = None


class Dispute(Shape):
    """What the two sides of a job could not settle, and how a mediator did: until then the job is frozen."""

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
