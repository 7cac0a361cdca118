"""Technicians: profiles, reviews, availability and positions."""

from __future__ import annotations

import msgspec

from engine.domain import profile, review_queue
from engine.domain.profile import ProfilePatch, TechnicianQuery
from engine.rules.fixes import Fix
from engine.technicians import live as technicians
from engine.technicians.live import Coordinates
from engine.types import TechnicianId, UserId
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.fields import sent_fields
from server.schemas.positions import Location, fixes_of
from server.schemas.technicians import PatchTechnician, Review, SetAvailability, TechniciansQuery


async def find(call: RequestContext[Body, TechniciansQuery]) -> Response:
    """Return technicians: for managers whole profiles, for others the public cards of approved technicians.

    With `review=pending`, onboarding managers and admins get the technicians who wait for a review, with their
    `documents`.
    """
    if call.query.review:
        queue = await review_queue.find_pending(
            call.engine, call.caller, limit=call.query.limit, cursor=call.query.cursor, service=call.query.service
        )
        return responses.page_response(call.next_link, queue.items, queue.next)
    query = msgspec.convert(call.query, TechnicianQuery, from_attributes=True)
    page = await profile.find_technicians(call.engine, call.caller, query)
    return responses.page_response(call.next_link, page.items, page.next)


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return a technician: for the technician and managers the whole profile, for others the public card."""
    return responses.object_response(
        "technician", await profile.read_technician(call.engine, call.caller, TechnicianId(UserId(call.id)))
    )


async def patch(call: RequestContext[PatchTechnician, NoQuery]) -> Response:
    """Change a profile; only managers set `zone` and `capacity`."""
    change, technician = ProfilePatch(**sent_fields(call.body)), TechnicianId(UserId(call.id))
    done = await profile.patch_technician(call.engine, call.caller, technician, change, key=call.key)
    return responses.stored_response("technician", done)


async def review(call: RequestContext[Review, NoQuery]) -> Response:
    """Decide on a technician's KYC and account; omitted fields do not change."""
    verdict, technician = msgspec.structs.asdict(call.body), TechnicianId(UserId(call.id))
    done = await profile.review_technician(call.engine, call.caller, technician, **verdict, key=call.key)
    return responses.stored_response("technician", done)


async def availability(call: RequestContext[SetAvailability, NoQuery]) -> Response:
    """Go online or offline. The answer has whether the technician receives offers now, and the reasons if not."""
    body = call.body
    position = None if body.lat is None or body.lon is None else Coordinates(body.lat, body.lon)
    done = await technicians.set_availability(
        call.engine, call.caller, call.id, online=body.online, position=position, key=call.key
    )
    return responses.json_response(done.value, *responses.replay_headers(done))


async def location(call: RequestContext[Location, NoQuery]) -> Response:
    """Send one fix that was measured now, or up to 100 fixes that were measured without a network.

    The status 200 reports a problem: the technician is offline and receives no offers (go online again by `PUT
    .../availability`), or the device's clock is wrong by more than 30 s. The positions are accepted in both cases.
    """
    fixes = [msgspec.convert(fix, Fix) for fix in fixes_of(call.body)]
    live = call.body.fixes is None
    report = await technicians.store_fixes(call.engine, call.caller, call.id, fixes, live=live)
    return Response() if report.needs_no_action else responses.json_response(report)._replace(status=200)
