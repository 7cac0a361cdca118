"""Price proposals: one side of a job proposes another price, and the other side answers."""

from __future__ import annotations

from engine.domain import prices
from engine.domain.prices import PriceOutcome
from server.api.endpoint import RequestContext, expected_version
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import NoQuery
from server.schemas.prices import NewProposal, ProposalAnswer


async def create(call: RequestContext[NewProposal, NoQuery]) -> Response:
    """Propose another price to the other side of the job.

    Only one proposal is open at a time. After the price is locked (for example by the start code), nobody can propose
    another price.
    """
    body, at = call.body, expected_version(call)
    done = await prices.propose_price(
        call.engine,
        call.caller,
        call.id,
        body.amount,
        reason=body.reason,
        version=at,
        key=call.key,
        trace=call.trace,
    )
    return _price_answer(done)


async def accept(call: RequestContext[ProposalAnswer, NoQuery]) -> Response:
    """Accept the price that the other side proposed. The proposal becomes the job's price."""
    return await _send_answer(call, "accepted")


async def reject(call: RequestContext[ProposalAnswer, NoQuery]) -> Response:
    """Reject the price that the other side proposed. The job's price does not change."""
    return await _send_answer(call, "rejected")


async def _send_answer(call: RequestContext[ProposalAnswer, NoQuery], answer: prices.PriceAnswer) -> Response:
    name, at = call.params["proposal"], expected_version(call)
    done = await prices.answer_proposal(
        call.engine, call.caller, call.id, name, answer, version=at, key=call.key, trace=call.trace
    )
    return _price_answer(done)


def _price_answer(outcome: PriceOutcome) -> Response:
    return responses.json_response(
        {"proposal": outcome.proposal, "job": outcome.job}, *responses.replay_headers(outcome)
    )
