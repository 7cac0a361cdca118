"""The routes of payments: reports of a payment service, and webhooks of payment providers."""

from __future__ import annotations

from engine.roles import SERVICE_ROLE
from engine.types import OPS
from server.api.handlers import payment_webhooks, payments
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.payments import NewPayment, Payment, PaymentReply, WebhookReply

PAYMENT_ROUTES: tuple[Route, ...] = (
    list_route("/v1/jobs/{id}/payments", payments.find, OPS | SERVICE_ROLE, policy.RECORD_PAYMENT, Payment),
    Route(
        "POST",
        "/v1/jobs/{id}/payments",
        payments.create,
        SERVICE_ROLE,
        policy.RECORD_PAYMENT,
        NewPayment,
        reply=PaymentReply,
        status=201,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/payments/webhooks/{adapter}",
        payment_webhooks.create,
        None,
        policy.SIGNED_BY_PROVIDER,
        reply=WebhookReply,
        takes_bytes=True,
        limit_name="webhooks",
    ),
)
