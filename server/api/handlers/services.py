"""Services: the catalogue from which customers book."""

from __future__ import annotations

import msgspec

from engine.domain import services
from engine.domain.services import ServiceQuery
from engine.types import ServiceId
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.fields import sent_fields
from server.schemas.services import NewService, PatchService, ServicesQuery


async def find(call: RequestContext[Body, ServicesQuery]) -> Response:
    """Return the services, sorted by name; only ops see inactive services."""
    query = msgspec.convert(call.query, ServiceQuery, from_attributes=True)
    page = await services.find_services(call.engine, call.caller, query)
    return responses.page_response(call.next_link, page.items, page.next)


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return a service, also if it is inactive, because old jobs still refer to it."""
    return responses.object_response("service", await services.read_service(call.engine, ServiceId(call.id)))


async def create(call: RequestContext[NewService, NoQuery]) -> Response:
    """Add a service to the catalogue."""
    new = msgspec.convert(call.body, services.NewService, from_attributes=True)
    done = await services.create_service(call.engine, call.caller, new, key=call.key)
    return responses.creation_response("service", done, "/v1/services")


async def patch(call: RequestContext[PatchService, NoQuery]) -> Response:
    """Change a service; existing jobs do not change."""
    change = sent_fields(call.body)
    done = await services.patch_service(call.engine, call.caller, ServiceId(call.id), change, key=call.key)
    return responses.stored_response("service", done)
