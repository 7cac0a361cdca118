"""The adapter `stripe`: PaymentIntents by Stripe's HTTP API, without its SDK (https://docs.stripe.com/api).

A charge or a hold creates a PaymentIntent (a hold with ``capture_method=manual``), which the customer's app confirms.
The worker reports the PaymentIntent as ``requested``, and the webhooks report what follows. Every request has an
idempotency key that is a pure function of the payment's id. Stripe repeats its first answer to the same key. Therefore
a request whose answer was lost can be sent again without moving the money twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from engine.payments import stripe_events, stripe_signature
from engine.payments.adapter import (
    PaymentOrder,
    PayoutOrder,
    ProviderRefused,
    ProviderUnavailable,
    RefundPart,
    Report,
    WrongSignature,
    failed_part,
    reason_of,
)
from engine.payments.stripe_amounts import stripe_amount
from engine.payments.stripe_events import JOB_KEY, REFERENCE_KEY, Intent, Refund, intent_report

if TYPE_CHECKING:
    import httpx

API_VERSION = "2024-06-20"
TIMEOUT_S = 20.0
PAYMENT_KEY = "callout_payment"
"""The metadata by which a PaymentIntent names the request."""


class _StripeError(msgspec.Struct, frozen=True):
    type: str = ""
    code: str | None = None
    payment_intent: Intent | None = None


class _ErrorReply(msgspec.Struct, frozen=True):
    error: _StripeError = _StripeError()


class _IntentRefused(ProviderRefused):
    """Raised if a PaymentIntent can no longer be captured or canceled. ``intent`` is its present state; None if Stripe
    did not send it.
    """

    def __init__(self, reason: str, intent: Intent | None) -> None:
        super().__init__(reason)
        self.intent = intent


class StripeAdapter:
    """The adapter for Stripe. ``url`` is the base of the API, ``key`` the secret API key, ``webhook_secret`` the key of
    the webhooks' signatures.
    """

    is_test = False

    def __init__(self, url: str, key: str, webhook_secret: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._key = key
        self._webhook_secret = webhook_secret
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def request(self, order: PaymentOrder) -> list[Report]:
        """Create a PaymentIntent. A charge of a hold captures the hold, and creates a PaymentIntent for the amount that
        the hold does not cover: the whole amount if the hold has ended.
        """
        captured: list[Report] = []
        rest = order.amount
        if order.of:
            captured = await self._capture(order)
            rest -= sum(report.amount for report in captured if report.status == "captured")
        return [*captured, *(await self._create(order, rest) if rest > 0 else [])]

    async def refund(self, order: PaymentOrder, parts: list[RefundPart]) -> list[Report]:
        """Create a Refund for each part. A part that Stripe refuses is reported as failed, and the others are made."""
        reports = []
        for part in parts:
            metadata = {JOB_KEY: order.job, REFERENCE_KEY: part.reference}
            amount = stripe_amount(part.amount, order.currency)
            fields = {"payment_intent": part.charge, "amount": amount, **_metadata(metadata)}
            try:
                refund = await self._post("/v1/refunds", fields, part.reference, Refund)
                reports.append(stripe_events.refund_report(refund))
            except ProviderRefused as error:
                reports.append(failed_part(order, part, error.reason))
        return [report for report in reports if report]

    async def release(self, order: PaymentOrder) -> list[Report]:
        """Cancel the PaymentIntent. If it was canceled or captured before, report that."""
        path = f"/v1/payment_intents/{quote(order.of, safe='')}/cancel"
        try:
            intent = await self._post(path, {"cancellation_reason": "abandoned"}, order.id, Intent)
        except _IntentRefused as error:
            if error.intent is None or error.intent.status not in ("canceled", "succeeded"):
                raise
            intent = error.intent
        return _reports(order, intent)

    async def payout(self, order: PayoutOrder) -> Literal["requested", "paid", "failed"]:
        """Transfer the amount to the technician's connected account. Without an account, return ``requested``: ops or a
        service pay the technician.
        """
        if not order.account:
            return "requested"
        amount = stripe_amount(order.amount, order.currency)
        fields = {"amount": amount, "currency": order.currency.lower(), "destination": order.account}
        await self._post("/v1/transfers", fields | _metadata({PAYMENT_KEY: order.id}), order.id, dict[str, Any])
        return "paid"

    def parse(self, headers: Mapping[bytes, bytes], body: bytes, now_s: float) -> list[Report]:
        """Return the reports of a signed event."""
        header = headers.get(b"stripe-signature", b"").decode("latin-1")
        if not header:
            raise WrongSignature("No signature")
        stripe_signature.verify(self._webhook_secret, header, body, now_s)
        return stripe_events.event_reports(body)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.aclose()

    async def _create(self, order: PaymentOrder, amount: int) -> list[Report]:
        fields = {
            "amount": stripe_amount(amount, order.currency),
            "currency": order.currency.lower(),
            "capture_method": "manual" if order.kind == "hold" else "automatic",
            "automatic_payment_methods[enabled]": "true",
            **_metadata({JOB_KEY: order.job, PAYMENT_KEY: order.id}),
        }
        # The amount that a hold does not cover is known only after its capture, so that the key contains the amount.
        key = order.id if amount == order.amount else f"{order.id}.{amount}"
        return _reports(order, await self._post("/v1/payment_intents", fields, key, Intent))

    async def _capture(self, order: PaymentOrder) -> list[Report]:
        """Capture the hold. Return an empty list if it was canceled. Raises ProviderRefused if its state is unknown."""
        path = f"/v1/payment_intents/{quote(order.of, safe='')}/capture"
        fields = {"amount_to_capture": stripe_amount(min(order.amount, order.held), order.currency)}
        try:
            intent = await self._post(path, fields, f"{order.id}.capture", Intent)
        except _IntentRefused as error:
            if error.intent is None:
                raise
            intent = error.intent
        return _reports(order, intent) if intent.status in ("succeeded", "canceled") else []

    async def _post(self, path: str, fields: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
        """Return the decoded reply to a POST. Raises ProviderUnavailable and ProviderRefused."""
        import httpx  # imported here, so that a server without Stripe starts faster

        if self._client is None:  # opened here, because webhooks need no connection
            fixed = {"Authorization": f"Bearer {self._key}", "Stripe-Version": API_VERSION}
            self._client = httpx.AsyncClient(base_url=self._url, headers=fixed, timeout=self._timeout_s)
        try:
            # httpx limits only each phase of a request. A server that sends single bytes slowly could block a payment
            # for hours.
            async with asyncio.timeout(self._timeout_s):
                reply = await self._client.post(path, data=dict(fields), headers={"Idempotency-Key": key})
        except (httpx.HTTPError, TimeoutError) as error:
            raise ProviderUnavailable(str(error) or type(error).__name__) from error
        try:
            if reply.is_success:
                return msgspec.json.decode(reply.content, type=kind)
            refused = msgspec.json.decode(reply.content, type=_ErrorReply).error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderUnavailable(f"HTTP {reply.status_code} with a body of another form") from error
        # 409: the first request with this key still runs. 401, 403: the operator must correct the API key. 429: too
        # many requests.
        if reply.status_code in (401, 403, 409, 429) or not 400 <= reply.status_code < 500:
            raise ProviderUnavailable(f"HTTP {reply.status_code} {refused.code or refused.type}")
        raise _IntentRefused(reason_of(refused.code or refused.type), refused.payment_intent)


def _metadata(members: Mapping[str, str]) -> dict[str, str]:
    return {f"metadata[{name}]": value for name, value in members.items()}


def _reports(order: PaymentOrder, intent: Intent) -> list[Report]:
    """Return the report of a PaymentIntent. The job is that of the order, even if the metadata names another one."""
    report = intent_report(intent)
    return [msgspec.structs.replace(report, job=order.job)] if report else []
