"""Disputes: they freeze a job until a mediator resolves them."""

from __future__ import annotations

from engine.domain import disputes
from engine.domain.disputes import DisputeOutcome
from engine.rules import sort_keys
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoBody, NoQuery
from server.schemas.disputes import NewDispute, Resolution
from server.schemas.lists import ListQuery


async def create(call: RequestContext[NewDispute, NoQuery]) -> Response:
    """Open a dispute about one's own job. The job is `frozen` for all other commands until a mediator resolves it."""
    done = await disputes.open_dispute(
        call.engine, call.caller, call.id, call.body.reason, key=call.key, trace=call.trace
    )
    return _dispute_answer(done)


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the open disputes, the newest first: mediators see all, the two sides of a job their own."""
    page = await disputes.find_disputes(call.engine, call.caller)
    return responses.list_response(
        call.next_link, call.query, page.items, sort_keys.dispute_key, newest_first=True, as_of=page.as_of
    )


async def resolve(call: RequestContext[Resolution, NoQuery]) -> Response:
    """Resolve a dispute: the job is resumed, cancelled or completed. If the dispute has no mediator yet, the caller
    becomes its mediator.
    """
    body = call.body
    done = await disputes.resolve_dispute(
        call.engine, call.caller, call.id, body.outcome, note=body.note, key=call.key, trace=call.trace
    )
    return _dispute_answer(done)


async def take(call: RequestContext[NoBody, NoQuery]) -> Response:
    """Become the mediator of a dispute and a member of the job's room. A dispute has one mediator, the first who asks;
    ops may replace that mediator.
    """
    done = await disputes.take_dispute(call.engine, call.caller, call.id, key=call.key, trace=call.trace)
    return responses.json_response({"dispute": done.dispute, "room": done.room}, *responses.replay_headers(done))


def _dispute_answer(outcome: DisputeOutcome) -> Response:
    return responses.json_response(
        {"dispute": outcome.dispute, "job": outcome.outcome.job}, *responses.replay_headers(outcome.outcome)
    )
