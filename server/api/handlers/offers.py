"""Offers of jobs to a technician."""

from __future__ import annotations

from engine.domain import offers
from engine.rules import sort_keys
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body
from server.schemas.lists import ListQuery


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the caller's open offers, the nearest deadline first, with `distance_m`."""
    page = await offers.find_open_offers(call.engine, call.caller)
    return responses.list_response(call.next_link, call.query, page.items, sort_keys.offer_key, as_of=page.as_of)
