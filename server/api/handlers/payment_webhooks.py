"""Webhooks of payment providers."""

from __future__ import annotations

from engine.domain import payment_webhooks
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import NoQuery


async def create(call: RequestContext[bytes, NoQuery]) -> Response:
    """Receive a webhook of a payment provider, in the provider's own format and with its signature.

    The signature is verified over the body as it was sent. A wrong or old signature is refused as `unauthenticated`; an
    adapter that the server does not use is `not_found`. Every signed message gets 200, even if its type or its job is
    unknown or it is repeated or late; its effect happens once.
    """
    await payment_webhooks.receive(call.engine, call.params["adapter"], call.headers, call.body)
    return responses.json_response({"received": True})
