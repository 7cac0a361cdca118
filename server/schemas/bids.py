"""Bids of technicians for a job."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.fields import Amount, LongText, Version
from server.schemas.objects import Person, Shape


class NewBid(Body):
    """A bid to make. ``amount`` is in minor units of the job's currency. Without ``amount`` the bid is for the amount
    that the customer offers.
    """

    amount: Amount | None = None
    note: Annotated[LongText | None, Meta(description="a note to the customer")] = None
    version: Version | None = None


class BidStep(Body):
    """A step on a bid. The step is done only if the job has this ``version``, as with ``If-Match``."""

    version: Version | None = None


class BidReply(Shape):
    bid: Bid
    message: str | None = None


class Bid(Shape):
    """A technician's offer to do a job for an amount. ``amount`` null means the amount that the customer offers.
    ``version`` is the version of the job at the time of this answer or event.
    """

    id: str
    job: str
    technician: Person
    amount: int | None
    note: str | None
    status: Literal["open", "accepted", "declined", "withdrawn", "closed"]
    created_at: datetime
    version: int | None = None
