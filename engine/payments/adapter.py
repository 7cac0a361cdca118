"""What Callout needs of a payment provider. Callout moves no money: an adapter asks a provider to, and returns what the
provider says as reports, which the worker records as the payment service would (engine/domain/payments.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from engine.types import JobId

ReportStatus = Literal["requested", "authorized", "captured", "released", "refunded", "failed"]
MAX_REASON_LENGTH = 64


class PaymentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that a step of a job requested. ``id`` is unique for ever, so that it is also the idempotency key at
    the provider. ``amount`` is in minor units of ``currency``. ``of`` is the reference of the hold that a charge uses
    or that is released, and ``held`` its amount.
    """

    id: str
    job: JobId
    kind: Literal["charge", "hold", "release", "refund"]
    amount: int
    currency: str
    of: str = ""
    held: int = 0


class RefundPart(msgspec.Struct, frozen=True):
    """What of a refund one charge pays back. ``reference`` is the refund's own reference, which the request determines:
    the provider repeats it in its webhooks.
    """

    reference: str
    charge: str
    amount: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says about one payment. ``job`` is "" if the provider does not know it: then another payment of
    the same reference, or of the reference ``of``, has it. ``reason`` says why a payment failed, in small letters,
    digits and `_`.
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
    """Raised when it is unknown or temporary what the provider did: the same request is made again later."""


class ProviderRefused(Exception):
    """Raised when the provider refused a request for good. ``reason`` is a word of small letters, digits and `_`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WrongSignature(Exception):
    """Raised for a webhook that the provider did not sign, or signed too long ago."""


class PaymentAdapter(Protocol):
    """A payment provider. Every method may be called again with the same argument after any failure, also by another
    process at the same time, and must not move the money twice. The methods that ask the provider raise
    ProviderUnavailable and ProviderRefused.
    """

    async def request(self, order: PaymentOrder) -> list[Report]:
        """Ask for a charge or a hold. Return what is known at once; the rest comes by webhooks."""

    async def refund(self, order: PaymentOrder, parts: list[RefundPart]) -> list[Report]:
        """Pay back each part."""

    async def release(self, order: PaymentOrder) -> list[Report]:
        """Release the hold ``order.of``."""

    async def payout(self, order: PayoutOrder) -> Literal["requested", "paid", "failed"]:
        """Pay a technician, and return what has become of it."""

    def parse(self, headers: Mapping[bytes, bytes], body: bytes, now_s: float) -> list[Report]:
        """Return the reports of a webhook, received at ``now_s`` (Unix seconds); none for a type that is not known.
        Raises WrongSignature.
        """

    async def aclose(self) -> None:
        """Close the connections."""


def reason_of(text: object) -> str:
    """Return a reason in the form that events have: small letters, digits and `_`."""
    letters = (letter if letter.isascii() and letter.isalnum() else "_" for letter in str(text or "").lower())
    return "".join(letters)[:MAX_REASON_LENGTH] or "refused"
