"""Whether users are online."""

from __future__ import annotations

from engine.domain import presence
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body
from server.schemas.presence import PresenceQuery


async def find(call: RequestContext[Body, PresenceQuery]) -> Response:
    """Return whether users are online: those who share with the caller a live job from its `track_from` state on, or an
    open room, and all users for ops. Others are left out, as unknown users are.
    """
    users = call.query.users.split(",")
    return responses.json_response({"items": await presence.find_presence(call.engine, call.caller, users)})
