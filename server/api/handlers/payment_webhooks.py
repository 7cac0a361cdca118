"""Webhooks of payment providers."""

from __future__ import annotations

from engine.domain import payment_webhooks
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import NoQuery


async def create(call: RequestContext[bytes, NoQuery]) -> Response:
    """Receive what a payment provider says, in its own words and with its own signature.

    The signature is of the body as it was sent. A wrong or old signature is refused as `unauthenticated`; an adapter
    that the server does not use is `not_found`. Every signed message is answered with 200, also of an unknown type,
    repeated, late or about no known job: its effect happens once.
    """
    await payment_webhooks.receive(call.engine, call.params["adapter"], call.headers, call.body)
    return responses.json_response({"received": True})
