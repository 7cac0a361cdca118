"""The interface of a payment provider. Callout moves no money: an adapter sends requests to a provider, and returns the
answers as reports. The payment worker records the reports in the same way as those of an outside payment service
(engine/domain/payments.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from engine.types import JobId

ReportStatus = Literal["requested", "authorized", "captured", "released", "refunded", "failed"]
MAX_REASON_LENGTH = 64
FAILED_SUFFIX = ":failed"
"""The ending of the reference under which the failure of a request for a refund is reported: the provider made no
refund, or nobody knows. The refund's own reference stays free for what the provider may report after all."""


class PaymentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that a step of a job requested. ``id`` is never used again, so that it is also the idempotency key at
    the provider. ``amount`` is in minor units of ``currency``. ``of`` is the reference of the hold that the order
    charges or releases, and ``held`` is the amount of this hold.
    """

    id: str
    job: JobId
    kind: Literal["charge", "hold", "release", "refund"]
    amount: int
    currency: str
    of: str = ""
    held: int = 0


class RefundPart(msgspec.Struct, frozen=True):
    """The part of a refund that one charge pays back. ``reference`` is the refund's own reference, derived from the
    request's id. The provider repeats it in its webhooks.
    """

    reference: str
    charge: str
    amount: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider reports about one payment. ``job`` is "" if the provider does not know the job: then it is that
    of an earlier payment with the same reference, or with the reference ``of``. ``reason`` says why a payment failed,
    in small letters, digits and `_`.
    """

    reference: str
    status: ReportStatus
    amount: int
    currency: str
    job: str = ""
    of: str | None = None
    reason: str = ""


class PayoutOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A payout to a technician. ``account`` is their account at the provider ("": not known)."""

    id: str
    technician: str
    account: str
    amount: int
    currency: str


class ProviderUnavailable(Exception):
    """Raised if a request failed for now, or if its outcome is unknown. The same request is made again later."""


class ProviderRefused(Exception):
    """Raised if the provider refused a request and a repeat cannot succeed. ``reason`` is a word of small letters,
    digits and `_`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WrongSignature(Exception):
    """Raised for a webhook without a valid signature of the provider, or with one that is too old."""


class PaymentAdapter(Protocol):
    """A payment provider. Every method may be called again with the same argument after any failure, also by another
    process at the same time, and must not move the money twice. The methods that ask the provider raise
    ProviderUnavailable and ProviderRefused.
    """

    is_test: bool
    """Whether no money moves."""

    async def request(self, order: PaymentOrder) -> list[Report]:
        """Request a charge or a hold. Return the reports that are known at once; webhooks bring the others."""

    async def refund(self, order: PaymentOrder, parts: list[RefundPart]) -> list[Report]:
        """Pay back each part."""

    async def release(self, order: PaymentOrder) -> list[Report]:
        """Release the hold ``order.of``."""

    async def payout(self, order: PayoutOrder) -> Literal["requested", "paid", "failed"]:
        """Pay a technician, and return the state of the payout."""

    def parse(self, headers: Mapping[bytes, bytes], body: bytes, now_s: float) -> list[Report]:
        """Return the reports of a webhook that was received at ``now_s`` (Unix seconds); an empty list for an unknown
        type. Raises WrongSignature.
        """

    async def aclose(self) -> None:
        """Close the connections."""


def failed_part(order: PaymentOrder, part: RefundPart, reason: str) -> Report:
    """Return the report that a part of a refund was not made."""
    return Report(
        reference=f"{part.reference}{FAILED_SUFFIX}",
        status="failed",
        amount=part.amount,
        currency=order.currency,
        job=order.job,
        of=part.charge,
        reason=reason,
    )


def reason_of(text: object) -> str:
    """Return a provider's reason in the form of events: small letters, digits and `_`."""
    letters = (letter if letter.isascii() and letter.isalnum() else "_" for letter in str(text or "").lower())
    return "".join(letters)[:MAX_REASON_LENGTH] or "refused"
