"""Requests: the outcome of a command whose answer was lost."""

from __future__ import annotations

from uuid import UUID

from engine.errors import NotFound
from engine.idempotency import in_redis
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the outcome of the caller's command with this request key; 404 means that the command did not arrive."""
    try:
        key = str(UUID(call.params["key"]))
    except ValueError:
        raise NotFound("No request key: not a UUID") from None
    return responses.json_response(await in_redis.find_record(call.engine, call.caller, key))
