"""The position of a job's technician, and their path."""

from __future__ import annotations

from typing import Any

from engine.domain import paths, positions
from engine.rules.paths import line_string_of
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body
from server.schemas.positions import TrackQuery


async def track(call: RequestContext[Body, TrackQuery]) -> Response:
    """Return the position of a job's technician, with its age; null if nobody holds the job."""
    found = await positions.read_track(call.engine, call.caller, call.id)
    reply: dict[str, Any] = {"position": found.position}
    if call.query.path:
        reply["path"] = None
        if found.technician is not None:
            reply["path"] = line_string_of(await paths.read_path(call.engine, found.zone, found.job, found.technician))
    return responses.json_response(reply)
