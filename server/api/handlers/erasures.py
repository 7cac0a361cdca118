"""Erasure of a person's data, and export of all data about a person."""

from __future__ import annotations

from engine.archive import person_export
from engine.domain import erasures
from engine.types import UserId
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.ndjson import NdjsonResponse
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.erasures import NewErasure, NewExport


async def create(call: RequestContext[NewErasure, NoQuery]) -> Response:
    """Close the account immediately, and erase the person's data later, when their events have left the logs in Redis.

    The user sends their password; an admin needs none. The answer is `not_erasable`, and the account stays open, while
    a job of theirs is live, a dispute is open, their balance is not 0, a payout is not finished, or a zone with events
    of theirs is no longer declared. An erasure cannot be undone.
    """
    body = call.body
    done = await erasures.request_erasure(
        call.engine, call.caller, UserId(call.id), reason=body.reason, password=body.password, key=call.key
    )
    return responses.stored_response("erasure", done)


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the state of the erasure of a person. Only admins can read it, because the person's account is closed."""
    return responses.object_response("erasure", await erasures.read_erasure(call.engine, call.caller, UserId(call.id)))


async def export(call: RequestContext[NewExport, NoQuery]) -> NdjsonResponse:
    """Return everything about a person, one JSON object a line. The user sends their password; an admin needs none.

    `kind` of a line is `job`, `message`, `event` (one that was addressed to the person), or `row` with its `table`.
    """
    user = UserId(call.id)
    await erasures.begin_export(call.engine, call.caller, user, call.body.password)
    return NdjsonResponse(person_export.export_person(call.engine.archive, user))
