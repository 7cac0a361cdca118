"""Payments that the payment service reports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from engine.errors import FieldError
from server.schemas import constraints
from server.schemas.decode import Body
from server.schemas.fields import Amount, Currency
from server.schemas.jobs import Job
from server.schemas.objects import Shape

PaymentReference = Annotated[
    str,
    Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", description="one line, at most 128"),
]


PaymentStatus = Literal["requested", "authorized", "captured", "released", "refunded", "failed"]


class NewPayment(Body):
    """A report of the payment service. ``reference`` is the service's own name for the payment, unique for the job. The
    first refund may use the reference of its charge. Further refunds have their own references, and ``of`` is the
    reference of the charge. ``failed`` with ``of`` is a refund that has failed: one that was made is taken back.
    """

    reference: PaymentReference
    status: PaymentStatus
    amount: Amount
    currency: Currency
    of: PaymentReference | None = None

    rules_schema = constraints.REFUND_OF_CHARGE

    def find_errors(self) -> list[FieldError]:
        only = self.of is None or self.status in ("refunded", "failed")
        return [] if only else [FieldError("/of", "Only a refund is of a charge")]


class PaymentReply(Shape):
    payment: Payment
    job: Job


class WebhookReply(Shape):
    """The answer to a webhook whose effect was recorded, or which has no effect."""

    received: bool


class Payment(Shape):
    """A requested payment and the outcome that the payment service reports. ``reference`` is the service's own name for
    the payment. For a refund, ``of`` is the reference of its charge; for a requested charge or release, it is the
    reference of the authorized hold that it uses, and ``held`` is the amount of this hold. ``test`` is true if no money
    moves.
    """

    id: str
    status: PaymentStatus
    amount: int
    currency: str
    kind: Literal["charge", "hold", "release", "refund"] | None = None
    reference: str | None = None
    of: str | None = None
    held: int | None = None
    test: bool | None = None
    created_at: datetime | None = None
