"""Notifications in a user's inbox."""

from __future__ import annotations

from engine.domain import notifications
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoBody, NoQuery
from server.schemas.lists import ListQuery


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the caller's notifications, the newest first."""
    limit, cursor = call.query.limit, call.query.cursor
    page = await notifications.find_notifications(call.engine, call.caller, limit=limit, cursor=cursor)
    return responses.page_response(call.next_link, page.items, page.next)


async def read(call: RequestContext[NoBody, NoQuery]) -> Response:
    """Mark a notification as read; idempotent."""
    await notifications.mark_read(call.engine, call.caller, call.id)
    return Response()
