"""Payouts of earned money to technicians."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from engine.domain import payouts
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.earnings import NewPayout, PayoutsQuery, SettlePayout


async def find(call: RequestContext[Body, PayoutsQuery]) -> Response:
    """Return payouts, the newest first."""
    query = payouts.PayoutQuery(**msgspec.structs.asdict(call.query))
    page = await payouts.find_payouts(call.engine, call.caller, query)
    return responses.page_response(call.next_link, page.items, page.next)


async def create(call: RequestContext[NewPayout, NoQuery]) -> Response:
    """Request a payout to a technician. More than the available amount is refused as `insufficient_balance`.

    A repeated request with the same `reference` returns the same payout; with other arguments it is refused as
    `duplicate`. The request waits until the ledger has all present events of the logs; if that takes too long, the
    answer is `unavailable`.
    """
    new = payouts.NewPayout(**msgspec.structs.asdict(call.body))
    done = await payouts.request_payout(call.engine, call.caller, new, key=call.key)
    where = (b"location", f"/v1/payouts?reference={quote(new.reference, safe='')}".encode())
    return responses.object_response("payout", done.value, *responses.replay_headers(done), where)


async def settle(call: RequestContext[SettlePayout, NoQuery]) -> Response:
    """Record that a payout was paid or has failed. After a failure, the money is available to the technician again. A
    recorded outcome never changes.
    """
    done = await payouts.settle_payout(call.engine, call.caller, call.id, call.body.status, key=call.key)
    return responses.stored_response("payout", done)
