"""Whether users are online."""

from __future__ import annotations

from engine.domain import presence
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body
from server.schemas.presence import PresenceQuery


async def find(call: RequestContext[Body, PresenceQuery]) -> Response:
    """Return whether users are online. The answer has the users who share an open room or a live job with the caller; a
    job counts from the state `track_from` of its blueprint on. Ops may ask for any user. Other users are left out, as
    unknown users are.
    """
    users = call.query.users.split(",")
    return responses.json_response({"items": await presence.find_presence(call.engine, call.caller, users)})
