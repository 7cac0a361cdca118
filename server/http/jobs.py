"""Jobs: booked, read, and moved by the steps of their blueprint."""

from __future__ import annotations

from typing import Any

import msgspec

from engine import board, booking, jobs
from engine.board import JobQuery
from engine.booking import Booking
from engine.errors import FieldError, Invalid
from engine.jobs import Step
from server import answers, wire
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call


async def create(call: Call[wire.NewJob, NoQuery]) -> Answer:
    """Book a job.

    Ops and services book for a `customer`. A `reference` is unique for ever per principal: again, it answers
    the first job, with 200.
    """
    wanted = msgspec.convert(call.body, Booking, from_attributes=True)
    done = await booking.create(call.engine, call.caller, wanted, key=call.key, trace=call.trace)
    return answers.created(done)


async def find(call: Call[Body, wire.JobsQuery]) -> Answer:
    """Jobs of the caller, the newest first; of everybody for ops and services."""
    asked = msgspec.structs.asdict(call.query)
    query = JobQuery(**{**asked, "updated_after": wire.ms(call.query.updated_after)})
    page = await board.find(call.engine, call.caller, query)
    return answers.page(call, page.items, page.next, page.as_of)


async def read(call: Call[Body, NoQuery]) -> Answer:
    """One job, with `actions[]`: what the caller may do now. To strangers it is not there."""
    return answers.job(await board.read(call.engine, call.caller, call.id))


async def history(call: Call[Body, NoQuery]) -> Answer:
    """All changes of a job: when, who, from, to, why."""
    return answers.page(call, await board.history(call.engine, call.caller, call.id), None)


async def waves(call: Call[Body, NoQuery]) -> Answer:
    """Who was asked in each wave, and who was left out and why."""
    return answers.page(call, await board.waves(call.engine, call.caller, call.id), None)


async def claim(call: Call[wire.Step, NoQuery]) -> Answer:
    """Take the job that one was offered: of all who try at once exactly one is told that it is his."""
    return await _take(call, "claim")


async def respond(call: Call[wire.Respond, NoQuery]) -> Answer:
    """The answer to an offer in one route: `accepted` is `claim`, `rejected` is `decline`."""
    body = call.body
    name = "claim" if body.status == "accepted" else "decline"
    return await _step(call, Step(command=name, version=_version(call), reason=body.reason))


async def command(call: Call[wire.Step, NoQuery]) -> Answer:
    """Any step that the job's blueprint gives the caller."""
    return await _take(call, call.params["command"])


async def _take(call: Call[wire.Step, NoQuery], name: str) -> Answer:
    body = call.body
    step = Step(
        command=name,
        version=_version(call),
        reason=body.reason,
        code=body.code,
        amount=body.amount,
        occurred_at=wire.ms(body.occurred_at),
    )
    return await _step(call, step)


async def _step(call: Call[Any, Any], step: Step) -> Answer:
    done = await jobs.command(call.engine, call.caller, call.id, step, key=call.key, trace=call.trace)
    return answers.outcome(done)


def _version(call: Call[wire.Step, NoQuery] | Call[wire.Respond, NoQuery]) -> int | None:
    """The version that a step is bound to, from the body or `If-Match`. Raises Invalid where they differ."""
    given = {version for version in (call.body.version, call.version) if version is not None}
    if len(given) > 1:
        raise Invalid(errors=[FieldError("/version", "Not the version of If-Match")])
    return given.pop() if given else None
