"""Quotes: the price of a booking in advance, and the cap of a zone's prices."""

from __future__ import annotations

from engine.domain import price_caps, quotes
from engine.domain.booking_request import Booking
from engine.types import Zone
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.fields import to_ms
from server.schemas.quotes import NewQuote, PutPricing


async def create(call: RequestContext[NewQuote, NoQuery]) -> Response:
    """Request the price of a booking. The quote is valid until `expires_at`, and one booking uses it up.

    The booking names the quote in `quote`, and must match it: the same blueprint, service, postal code and time, and a
    place within 100 m. The amounts of `breakdown` sum to `amount` exactly.
    """
    body = call.body
    asked = Booking(
        blueprint=body.blueprint,
        service=body.service,
        lat=body.lat,
        lon=body.lon,
        address="",
        postal_code=body.postal_code,
        scheduled_for=to_ms(body.scheduled_for),
        customer=body.customer,
    )
    done = await quotes.create_quote(call.engine, call.caller, asked, key=call.key, trace=call.trace)
    where = (b"location", f"/v1/quotes/{done.id}".encode())
    return responses.object_response("quote", done.quote, *responses.replay_headers(done), where)


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return a quote to its customer, ops and services. `used_by` is the job that used it up."""
    return responses.object_response("quote", await quotes.read_quote(call.engine, call.caller, call.id))


async def put_pricing(call: RequestContext[PutPricing, NoQuery]) -> Response:
    """Set the largest multiplier of a zone's quoted prices, for an emergency or because a law demands it. Null removes
    the limit. Quotes that exist already keep their price.
    """
    zone = Zone(call.params["zone"])
    done = await price_caps.put_cap(call.engine, call.caller, zone, call.body.max, key=call.key)
    return responses.stored_response("pricing", done)
