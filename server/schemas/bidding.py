"""Bids on the wire: what requests may say, in the manner of server/schemas/requests.py, and what is answered, as
server/schemas/objects.py does."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.schemas.dealings import Bid
from server.schemas.decode import Body
from server.schemas.objects import Shape
from server.schemas.requests import Amount, Notes, Version


class NewBid(Body):
    """``amount`` is in minor units of the job's currency; without it the bid is for what the customer offers."""

    amount: Amount | None = None
    note: Annotated[Notes | None, Meta(description="what the customer should know")] = None
    version: Version | None = None


class BidStep(Body):
    """``version`` is the job's, and makes the step conditional on it, as ``If-Match`` does."""

    version: Version | None = None


class BidReply(Shape):
    bid: Bid
    message: str | None = None
