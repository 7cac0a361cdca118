"""Links to a job, for people without an account."""

from __future__ import annotations

from engine.domain import shared_jobs, shares
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response, StreamingResponse
from server.schemas.decode import Body, NoBody, NoQuery
from server.schemas.lists import ListQuery
from server.schemas.shares import NewShare


async def create(call: RequestContext[NewShare, NoQuery]) -> Response:
    """Create a link to a job. Everybody who has the link can follow the job without an account, until `expires_at` or
    the job's end.

    A job has at most five open links. A repeat with the same key gets the same link.
    """
    valid_s = call.body.ttl_s
    done = await shares.create_share(call.engine, call.caller, call.id, valid_s=valid_s, key=call.key, trace=call.trace)
    where = (b"location", f"/v1/jobs/{call.id}/shares/{done.share.id}".encode())
    return responses.object_response("share", done.share, *responses.replay_headers(done), where)


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the open links of a job, the oldest first."""
    found = await shares.find_shares(call.engine, call.caller, call.id)
    return responses.list_response(call.next_link, call.query, found, lambda share: (share.id,))


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return an open link of a job."""
    share = await shares.read_share(call.engine, call.caller, call.id, call.params["share"])
    return responses.object_response("share", share)


async def close(call: RequestContext[NoBody, NoQuery]) -> Response:
    """End a link immediately. Streams of the link get the event `end`. A link that is not open does not change."""
    share = call.params["share"]
    repeated = await shares.close_share(call.engine, call.caller, call.id, share, key=call.key, trace=call.trace)
    return Response(headers=((b"idempotency-replayed", b"true"),) if repeated else ())


async def follow(call: RequestContext[Body, NoQuery]) -> Response | StreamingResponse:
    """Follow a job through its link: its phase and, while the technician is on the way, their position and expected
    arrival. The token in the path is the only permission that is needed.

    With `Accept: text/event-stream` the answer is a stream: an event with the same object after each change, and the
    event `end` when the link or the job has ended. A link that is not open is `not_found`.
    """
    token = call.params["token"]
    shared = await shared_jobs.read_shared_job(call.engine, token)
    if b"text/event-stream" in call.headers.get(b"accept", b""):
        return call.app_state.share_streams.open(call.engine, token, shared)
    return responses.json_response(shared)
