"""The caller's own logins, each a session of PROTOCOL §2."""

from __future__ import annotations

from engine import logins
from server import answers, wire
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call


async def find(call: Call[Body, wire.ListQuery]) -> Answer:
    """The caller's logins that are still good, the latest first."""
    page = await logins.find(call.engine, call.caller, limit=call.query.limit, cursor=call.query.cursor)
    return answers.page(call, page.items, page.next)


async def end(call: Call[wire.Nothing, NoQuery]) -> Answer:
    """End one of the caller's own logins: its tokens are refused and its sockets closed when this answers."""
    done = await logins.end(call.engine, call.caller, call.id, key=call.key)
    return Answer(headers=answers.replayed(done))
