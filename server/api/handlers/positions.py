"""The position of a job's technician."""

from __future__ import annotations

from engine.domain import positions
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery


async def track(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the position of a job's technician, with its age; null if nobody holds the job."""
    return responses.object_response("position", await positions.read_position(call.engine, call.caller, call.id))
