"""The routes of quotes and of the caps of prices. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import BOOKER_ROLES, OPS
from server.api.handlers import quotes
from server.api.route import Route
from server.http import policy
from server.schemas.quotes import NewQuote, PricingReply, PutPricing, QuoteReply

QUOTE_ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/quotes",
        quotes.create,
        BOOKER_ROLES,
        policy.OWN_DATA,
        NewQuote,
        reply=QuoteReply,
        status=201,
        has_key=True,
        limit_name="quotes",
    ),
    Route("GET", "/v1/quotes/{id}", quotes.read, BOOKER_ROLES, policy.READ_QUOTE, reply=QuoteReply),
    Route(
        "PUT",
        "/v1/zones/{zone}/pricing",
        quotes.put_pricing,
        OPS,
        policy.EDIT_ZONE,
        PutPricing,
        reply=PricingReply,
        has_key=True,
    ),
)
