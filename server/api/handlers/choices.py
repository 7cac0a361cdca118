"""The engine's choice of technicians: previews of bookings, and the reasons why a technician gets offers or not."""

from __future__ import annotations

from engine.domain import offer_reasons, previews
from server.api.endpoint import RequestContext
from server.api.handlers.jobs import wanted_booking
from server.http import responses
from server.http.responses import Response
from server.schemas.choices import WhyQuery
from server.schemas.decode import Body, NoQuery
from server.schemas.jobs import NewJob


async def preview(call: RequestContext[NewJob, NoQuery]) -> Response:
    """Return the technicians who would be asked first for a booking, in order, and those who would not, with the
    reasons. Nothing is booked.

    Callers with the role `service` receive only counts and reasons.
    """
    wanted = wanted_booking(call.body)
    return responses.object_response("preview", await previews.preview_booking(call.engine, call.caller, wanted))


async def why(call: RequestContext[Body, WhyQuery]) -> Response:
    """Return the reasons why a technician gets no offers now, and the outcomes of their offers of the last week.

    With `job`, the reply also says whether the waves of that job asked the technician, and why not.
    """
    found = await offer_reasons.explain_offers(call.engine, call.caller, call.id, call.query.job)
    return responses.object_response("why", found)
