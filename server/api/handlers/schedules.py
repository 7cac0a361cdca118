"""Schedules: the visits of a technician, and their working hours."""

from __future__ import annotations

from engine.domain import technician_schedules
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.schedules import PutHours


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the visits of a technician, with travel times and buffers, and their working hours."""
    found = await technician_schedules.read_schedule(call.engine, call.caller, call.id)
    return responses.object_response("schedule", found)


async def put_hours(call: RequestContext[PutHours, NoQuery]) -> Response:
    """Replace a technician's working hours: when they can be booked in advance."""
    hours = call.body.working_hours()
    kept = await technician_schedules.put_hours(call.engine, call.caller, call.id, hours)
    return responses.object_response("hours", kept)
