"""The caller's own logins: each is one sign-in, with all tokens that were refreshed from it."""

from __future__ import annotations

from engine.identity import logins
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoBody, NoQuery
from server.schemas.lists import ListQuery


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the caller's valid logins, the latest first."""
    page = await logins.find_logins(call.engine, call.caller, limit=call.query.limit, cursor=call.query.cursor)
    return responses.page_response(call.next_link, page.items, page.next)


async def end(call: RequestContext[NoBody, NoQuery]) -> Response:
    """End one of the caller's logins: after the answer, the login's tokens are refused and its sockets closed."""
    done = await logins.end_login(call.engine, call.caller, call.id, key=call.key)
    return Response(headers=responses.replay_headers(done))
