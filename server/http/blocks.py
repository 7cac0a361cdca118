"""Blocks: whom the caller does not want to meet at work."""

from __future__ import annotations

from engine import blocks
from engine.types import UserId
from server import answers, wire
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call


async def find(call: Call[Body, wire.ListQuery]) -> Answer:
    """Whom the caller blocked, the latest first; not who blocked the caller."""
    page = await blocks.find(call.engine, call.caller, limit=call.query.limit, cursor=call.query.cursor)
    return answers.page(call, page.items, page.next)


async def create(call: Call[wire.Blocked, NoQuery]) -> Answer:
    """Block a technician, or as one a customer: neither is offered the other's work from now on."""
    return answers.kept("block", await blocks.put(call.engine, call.caller, UserId(call.body.user), key=call.key))


async def drop(call: Call[wire.Blocked, NoQuery]) -> Answer:
    """Take one's own block back; one that the other set stands."""
    done = await blocks.lift(call.engine, call.caller, UserId(call.body.user), key=call.key)
    return Answer(headers=answers.replayed(done))


async def put(call: Call[wire.Nothing, NoQuery]) -> Answer:
    """The same as `POST /v1/me/blocks`, with the user in the path."""
    return answers.kept("block", await blocks.put(call.engine, call.caller, UserId(call.id), key=call.key))


async def lift(call: Call[wire.Nothing, NoQuery]) -> Answer:
    """The same as `DELETE /v1/me/blocks`, with the user in the path."""
    done = await blocks.lift(call.engine, call.caller, UserId(call.id), key=call.key)
    return Answer(headers=answers.replayed(done))
