"""Price proposals."""

from __future__ import annotations

from server.schemas.decode import Body
from server.schemas.fields import Amount, Reason, Version
from server.schemas.jobs import Job
from server.schemas.objects import Proposal, Shape


class NewProposal(Body):
    """``amount`` is in minor units of the job's currency; for a job by the hour, the rate."""

    amount: Amount
    reason: Reason | None = None
    version: Version | None = None


class ProposalAnswer(Body):
    """``version`` is the job's. It makes the answer conditional on it, as ``If-Match`` does."""

    version: Version | None = None


class ProposalReply(Shape):
    proposal: Proposal
    job: Job
