"""Another price for a job, proposed by one side and answered by the other."""

from __future__ import annotations

from engine import prices
from engine.prices import Dealt
from server import answers, terms
from server.answers import Answer
from server.decode import NoQuery
from server.endpoint import Call
from server.http.bids import version


async def create(call: Call[terms.NewProposal, NoQuery]) -> Answer:
    """Propose another price to the other side of the job.

    One proposal is open at a time. Once the price is locked (by the start code, say) there is nothing to propose.
    """
    body, at = call.body, version(call)
    done = await prices.propose(
        call.engine,
        call.caller,
        call.id,
        body.amount,
        reason=body.reason,
        version=at,
        key=call.key,
        trace=call.trace,
    )
    return _dealt(done)


async def accept(call: Call[terms.ProposalAnswer, NoQuery]) -> Answer:
    """Accept the price that the other side proposed: from then on it is the job's."""
    return await _answer(call, "accepted")


async def reject(call: Call[terms.ProposalAnswer, NoQuery]) -> Answer:
    """Reject the price that the other side proposed: the job's stays."""
    return await _answer(call, "rejected")


async def _answer(call: Call[terms.ProposalAnswer, NoQuery], given: prices.Answer) -> Answer:
    name, at = call.params["proposal"], version(call)
    done = await prices.answer(
        call.engine, call.caller, call.id, name, given, version=at, key=call.key, trace=call.trace
    )
    return _dealt(done)


def _dealt(done: Dealt) -> Answer:
    return answers.plain({"proposal": done.proposal, "job": done.job}, *answers.replayed(done))
