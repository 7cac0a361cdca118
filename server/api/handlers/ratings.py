"""Ratings of the two sides of a completed job."""

from __future__ import annotations

from engine.domain import ratings
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import NoQuery
from server.schemas.ratings import NewRating


async def create(call: RequestContext[NewRating, NoQuery]) -> Response:
    """Rate the other side of a completed job, once: the customer rates the technician, the technician the customer."""
    body = call.body
    done = await ratings.rate_job(call.engine, call.caller, call.id, body.stars, body.comment, key=call.key)
    where = (b"location", f"/v1/jobs/{done.value.job}".encode())
    return responses.object_response("rating", done.value, *responses.replay_headers(done), where)
