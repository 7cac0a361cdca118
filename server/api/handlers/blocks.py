"""Blocks: users whom the caller does not want to meet at work."""

from __future__ import annotations

from engine.domain import blocks
from engine.types import UserId
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.blocks import OneUser
from server.schemas.decode import Body, NoBody, NoQuery
from server.schemas.lists import ListQuery


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the users whom the caller blocked, the latest first. Users who blocked the caller are not listed."""
    page = await blocks.find_blocks(call.engine, call.caller, limit=call.query.limit, cursor=call.query.cursor)
    return responses.page_response(call.next_link, page.items, page.next)


async def create(call: RequestContext[OneUser, NoQuery]) -> Response:
    """Block a technician or, as a technician, a customer. From then on the technician gets no offers of the customer's
    jobs.
    """
    return responses.stored_response(
        "block", await blocks.put_block(call.engine, call.caller, UserId(call.body.user), key=call.key)
    )


async def drop(call: RequestContext[OneUser, NoQuery]) -> Response:
    """Remove one's own block; a block by the other user stays."""
    done = await blocks.lift_block(call.engine, call.caller, UserId(call.body.user), key=call.key)
    return Response(headers=responses.replay_headers(done))


async def put(call: RequestContext[NoBody, NoQuery]) -> Response:
    """Block the user in the path: the same as `POST /v1/me/blocks`."""
    return responses.stored_response(
        "block", await blocks.put_block(call.engine, call.caller, UserId(call.id), key=call.key)
    )


async def lift(call: RequestContext[NoBody, NoQuery]) -> Response:
    """Remove one's own block of the user in the path: the same as `DELETE /v1/me/blocks`."""
    done = await blocks.lift_block(call.engine, call.caller, UserId(call.id), key=call.key)
    return Response(headers=responses.replay_headers(done))
