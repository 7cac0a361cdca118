"""Price proposals."""

from __future__ import annotations

from server.schemas.decode import Body
from server.schemas.fields import Amount, MediumText, Version
from server.schemas.jobs import Job
from server.schemas.objects import Actor, Proposal, Shape


class NewProposal(Body):
    """A price to propose. ``amount`` is in minor units of the job's currency; for an hourly job it is the rate."""

    amount: Amount
    reason: MediumText | None = None
    version: Version | None = None


class ProposalAnswer(Body):
    """An answer to a proposal. The answer counts only if the job has this ``version``, as with ``If-Match``."""

    version: Version | None = None


class ProposalReply(Shape):
    proposal: Proposal
    job: Job


class PriceEventData(Shape):
    proposal: Proposal
    job: Job
    actor: Actor | None = None
    reason: str | None = None


class PriceChanged(PriceEventData):
    """An accepted price. ``payment_requested``: money is held for the job, and the same step requested a hold of the
    new amount, or released the hold if there is nothing more to pay.
    """

    payment_requested: bool = False
