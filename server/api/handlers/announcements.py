"""Announcements of ops to all users of some roles."""

from __future__ import annotations

from engine.domain import announcements
from engine.domain.announcements import Announcement
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.announcements import NewAnnouncement
from server.schemas.decode import NoQuery


async def create(call: RequestContext[NewAnnouncement, NoQuery]) -> Response:
    """Send an announcement to all users of some roles; offline users receive it when they connect again."""
    body = call.body
    new = Announcement(event=body.event, roles=list(body.roles or ()), data=body.data)
    return responses.stored_response(
        "announcement", await announcements.announce(call.engine, call.caller, new, key=call.key, trace=call.trace)
    )
