"""What a job is to be, costs and is quarrelled about, on the wire: what requests may say, in the manner of
server/schemas/requests.py, and what is answered, as server/schemas/objects.py does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from engine.errors import FieldError
from server.schemas import constraints, objects, requests
from server.schemas.dealings import Dispute, Payment
from server.schemas.decode import Body
from server.schemas.objects import Proposal, Shape
from server.schemas.problems import Problem
from server.schemas.requests import Amount, Currency, Id, Lat, Lon, Moment, Notes, Reason, Short, Version


class PatchJob(Body):
    """What is to be changed; null takes away what need not be there. `version` makes it conditional, as `If-Match`
    does.
    """

    service: Id | UnsetType = UNSET
    lat: Lat | UnsetType = UNSET
    lon: Lon | UnsetType = UNSET
    address: Reason | UnsetType = UNSET
    postal_code: Short | UnsetType | None = UNSET
    amount: Amount | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    notes: Notes | UnsetType | None = UNSET
    public_notes: Notes | UnsetType | None = UNSET
    scheduled_for: Moment | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    version: Version | None = None

    also = constraints.BOTH

    def wrong(self) -> list[FieldError]:
        errors = requests.pair(self.lat, self.lon, UNSET)
        return errors if self.metadata is UNSET else [*errors, *requests.metadata(self.metadata)]


class NewProposal(Body):
    """``amount`` is in minor units of the job's currency; for a job by the hour, the rate."""

    amount: Amount
    reason: Reason | None = None
    version: Version | None = None


class ProposalAnswer(Body):
    """``version`` is the job's, and makes the answer conditional on it, as ``If-Match`` does."""

    version: Version | None = None


class ProposalReply(Shape):
    proposal: Proposal
    job: objects.Job


PaymentReference = Annotated[
    str,
    Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", description="one line, at most 128"),
]


class NewPayment(Body):
    """``reference`` is the payment service's own name for the payment, unique for the job. The first refund may use
    its charge's; further ones have their own and name the charge in ``of``.
    """

    reference: PaymentReference
    status: Literal["requested", "captured", "refunded", "failed"]
    amount: Amount
    currency: Currency
    of: PaymentReference | None = None

    also = constraints.OF_A_CHARGE

    def wrong(self) -> list[FieldError]:
        only = self.of is None or self.status == "refunded"
        return [] if only else [FieldError("/of", "Only a refund is of a charge")]


class PaymentReply(Shape):
    payment: Payment
    job: objects.Job


class NewDispute(Body):
    reason: Reason


class Resolution(Body):
    outcome: Literal["resume", "cancel", "complete"]
    note: Reason | None = None


class DisputeReply(Shape):
    dispute: Dispute
    job: objects.Job


class OneCommand(requests.Step, kw_only=True):
    """One step with its request key; where it has none, one is made."""

    command: Short
    key: Annotated[str, Meta(pattern=r"^[0-9a-fA-F-]{32,36}$(?!\n)", description="a UUID")] | None = None


class Commands(Body):
    """Steps in the order in which they were taken; ``occurred_at`` says when, where that was earlier."""

    items: Annotated[list[OneCommand], Meta(min_length=1, max_length=50)]


class Became(Shape):
    """What became of one command: what comes after a refused one is not tried."""

    command: str
    key: str
    status: Literal["done", "refused", "not_tried"]
    job: objects.Job | None = None
    message: str | None = None
    repeated: bool | None = None
    error: Problem | None = None


class CommandsReply(Shape):
    items: list[Became]
