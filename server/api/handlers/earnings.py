"""What technicians earned: balance, changes and statements."""

from __future__ import annotations

import msgspec

from engine.domain import earnings
from server.api.endpoint import RequestContext
from server.http import responses, statement_csv
from server.http.responses import Response
from server.schemas.decode import Body
from server.schemas.earnings import StatementQuery
from server.schemas.lists import ListQuery


async def read(call: RequestContext[Body, ListQuery]) -> Response:
    """Return what a technician earned and was not paid yet, by currency, and its changes, the newest first.

    A job's money is the technician's from the step on that finishes the job, without the commission of its blueprint.
    It is pending until the blueprint's hold is over. A refund takes it back, also after a payout: then the balance is
    negative.
    """
    found = await earnings.read_earnings(
        call.engine, call.caller, call.id, limit=call.query.limit, cursor=call.query.cursor
    )
    return Response(msgspec.json.encode(found), (call.next_link(found.next),) if found.next else ())


async def statement(call: RequestContext[Body, StatementQuery]) -> Response:
    """Return the statement of a month: what the technician had before it, each change, and what they had after it.

    The month is that of the time zone of the technician's zone. `format=csv`, or `Accept: text/csv`, gives a table
    instead. A statement that is not `final` may still get lines.
    """
    found = await earnings.read_statement(call.engine, call.caller, call.id, call.query.month)
    if call.query.format == "csv" or call.headers.get(b"accept", b"").startswith(b"text/csv"):
        return statement_csv.csv_response(found)
    return responses.object_response("statement", found)
