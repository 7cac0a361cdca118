"""Offers of jobs to a technician."""

from __future__ import annotations

import msgspec

from engine.domain import offers
from engine.rules.job_document import EventJob
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body
from server.schemas.lists import ListQuery


class _SortFields(msgspec.Struct):
    """The fields of an offer by which the list is sorted."""

    expires_at: str
    job: EventJob


_sort_fields_decoder = msgspec.json.Decoder(_SortFields)


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the caller's open offers, the nearest deadline first, with `distance_m`."""
    page = await offers.find_open_offers(call.engine, call.caller)
    return responses.list_response(call.next_link, call.query, page.items, _sort_key, as_of=page.as_of)


def _sort_key(offer: bytes) -> tuple[str, str]:
    place = _sort_fields_decoder.decode(offer)
    return place.expires_at, place.job.id
