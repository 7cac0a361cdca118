"""Notifications: what a person was told."""

from __future__ import annotations

from engine import notifications
from server import answers, wire
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call


async def find(call: Call[Body, wire.ListQuery]) -> Answer:
    """The caller's notifications, the newest first."""
    limit, cursor = call.query.limit, call.query.cursor
    page = await notifications.find(call.engine, call.caller, limit=limit, cursor=cursor)
    return answers.page(call, page.items, page.next)


async def read(call: Call[wire.Nothing, NoQuery]) -> Answer:
    """Note that one was read; again is the same."""
    await notifications.mark_read(call.engine, call.caller, call.id)
    return Answer()
