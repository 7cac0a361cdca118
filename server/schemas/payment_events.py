"""The payloads of events about payments."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from server.schemas.jobs import Job
from server.schemas.objects import Actor, Shape
from server.schemas.payments import Payment


class PaymentEventData(Shape, rename={"source": "from"}):
    """A new or changed payment; ``why`` says why it failed. ``reversed``: a refund that was made has failed. If a step
    of the job requested the payment or resulted from it, the payload also has the members of that step.
    """

    payment: Payment
    job: Job
    source: str | None = None
    to: str | None = None
    command: str | None = None
    actor: Actor | None = None
    reason: str | None = None
    occurred_at: datetime | None = None
    why: str | None = None
    reversed: bool | None = None


class PaymentUnexpected(Shape):
    """A captured amount that the job cannot use: it is in a currency other than the job's (and does not count), it is
    more than the job requested, the job is over, or the job is in a state that waits for no payment.
    """

    payment: Payment
    job: Job
    why: Literal["other_currency", "surplus", "job_over", "not_awaited"]
