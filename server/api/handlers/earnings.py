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
    """Return a technician's balance by currency, and its changes, the newest first.

    A technician earns the money of a job, less the commission of its blueprint, in the step that finishes the job. The
    money is pending for the time that the blueprint declares. A refund takes it back, even after a payout: the balance
    can be negative.
    """
    found = await earnings.read_earnings(
        call.engine, call.caller, call.id, limit=call.query.limit, cursor=call.query.cursor
    )
    return Response(msgspec.json.encode(found), (call.next_link(found.next),) if found.next else ())


async def statement(call: RequestContext[Body, StatementQuery]) -> Response:
    """Return the statement of a month: the balance before the month, each change, and the balance after it.

    The month is that of the time zone of the technician's zone. `format=csv`, or `Accept: text/csv`, gives a table
    instead. A statement that is not `final` may still get lines.
    """
    found = await earnings.read_statement(call.engine, call.caller, call.id, call.query.month)
    if call.query.format == "csv" or call.headers.get(b"accept", b"").startswith(b"text/csv"):
        return statement_csv.csv_response(found)
    return responses.object_response("statement", found)
