"""The snapshot from which a client starts."""

from __future__ import annotations

from engine.domain import sync
from engine.rules.fixes import IDLE_RATE
from engine.technicians import live
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.polling import POLL_INTERVALS_S
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return a snapshot to start from: the caller's account, live jobs, open offers, rooms and unread notifications.

    `cursor` was read before the rest: a stream, poll or socket that begins at `cursor` misses no event.
    """
    found = await sync.read_snapshot(call.engine, call.caller)
    state = await live.read_presence(call.engine, call.caller)
    return responses.json_response(
        {
            "me": found.me,
            "jobs": [responses.embed_json(job) for job in found.jobs],
            "next": found.next,
            "offers": [responses.embed_json(offer) for offer in found.offers],
            "rooms": [responses.embed_json(room) for room in found.rooms],
            "notifications": found.notifications,
            "cursor": found.cursor,
            "poll": POLL_INTERVALS_S,
            "fix": state.fix if state else IDLE_RATE,
        }
    )
