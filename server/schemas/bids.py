"""Bids of technicians for a job."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.fields import Amount, Notes, Version
from server.schemas.objects import Person, Shape


class NewBid(Body):
    """``amount`` is in minor units of the job's currency. Without it the bid is for the amount that the customer
    offers.
    """

    amount: Amount | None = None
    note: Annotated[Notes | None, Meta(description="a note to the customer")] = None
    version: Version | None = None


class BidStep(Body):
    """``version`` is the job's. It makes the step conditional on it, as ``If-Match`` does."""

    version: Version | None = None


class BidReply(Shape):
    bid: Bid
    message: str | None = None


class Bid(Shape):
    """A technician's offer to do a job for an amount. ``amount`` null is the amount that the customer offers.
    ``version`` is the job's at that instant.
    """

    id: str
    job: str
    technician: Person
    amount: int | None
    note: str | None
    status: Literal["open", "accepted", "declined", "withdrawn", "closed"]
    created_at: datetime
    version: int | None = None
