"""Bids: technicians offer to do a job for a price, and its customer accepts one."""

from __future__ import annotations

from engine.domain import bid_list, bids
from engine.domain.bids import BidOutcome, BidTerms
from engine.rules import sort_keys
from server.api.endpoint import RequestContext, expected_version
from server.http import responses
from server.http.responses import Response
from server.schemas.bids import BidStep, NewBid
from server.schemas.decode import Body, NoQuery
from server.schemas.lists import ListQuery


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the bids for a job, the oldest first; a technician sees only their own."""
    page = await bid_list.find_bids(call.engine, call.caller, call.id)
    return responses.list_response(call.next_link, call.query, page.items, sort_keys.creation_key, as_of=page.as_of)


async def create(call: RequestContext[NewBid, NoQuery]) -> Response:
    """Bid once for a job that takes bids. Technicians who withdrew their bid may bid again.

    Technicians who have the service and may work need no invitation. On a flat job the `amount` becomes the price when
    the customer accepts the bid. On an hourly job the rate stays.
    """
    terms = BidTerms(amount=call.body.amount, note=call.body.note, version=expected_version(call))
    done = await bids.create_bid(call.engine, call.caller, call.id, terms, key=call.key, trace=call.trace)
    return _bid_answer(done, (b"location", f"/v1/jobs/{call.id}/bids".encode()))


async def withdraw(call: RequestContext[BidStep, NoQuery]) -> Response:
    """Withdraw one's own bid."""
    bid, expected = call.params["bid"], expected_version(call)
    done = await bids.withdraw_bid(
        call.engine, call.caller, call.id, bid, version=expected, key=call.key, trace=call.trace
    )
    return _bid_answer(done)


async def accept(call: RequestContext[BidStep, NoQuery]) -> Response:
    """Give the job to the technician of a bid; all other bids are declined."""
    bid, expected = call.params["bid"], expected_version(call)
    done = await bids.accept_bid(
        call.engine, call.caller, call.id, bid, version=expected, key=call.key, trace=call.trace
    )
    return responses.step_response(done)


def _bid_answer(outcome: BidOutcome, *headers: responses.Header) -> Response:
    """Return the answer of a command about a bid: ``{bid, message?}``."""
    message = {"message": outcome.message} if outcome.message is not None else {}
    return responses.json_response({"bid": outcome.bid, **message}, *responses.replay_headers(outcome), *headers)
