"""Disputes: a job stands still until a mediator has settled them."""

from __future__ import annotations

from engine import disputes
from engine.disputes import Disputed
from server import answers, terms, wire
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call


async def create(call: Call[terms.NewDispute, NoQuery]) -> Answer:
    """Open a dispute about one's job: to all other commands it is `frozen` until a mediator resolves it."""
    done = await disputes.create(call.engine, call.caller, call.id, call.body.reason, key=call.key, trace=call.trace)
    return _disputed(done)


async def find(call: Call[Body, wire.ListQuery]) -> Answer:
    """The disputes that are open, the newest first: all of them for mediators, one's own for the two sides of a job."""
    page = await disputes.find(call.engine, call.caller)
    return answers.listed(call, page.items, disputes.place, newest_first=True, as_of=page.as_of)


async def resolve(call: Call[terms.Resolution, NoQuery]) -> Answer:
    """Settle a dispute; the job is resumed, cancelled or completed."""
    body = call.body
    done = await disputes.resolve(
        call.engine, call.caller, call.id, body.outcome, note=body.note, key=call.key, trace=call.trace
    )
    return _disputed(done)


def _disputed(done: Disputed) -> Answer:
    return answers.plain({"dispute": done.dispute, "job": done.done.job}, *answers.replayed(done.done))
