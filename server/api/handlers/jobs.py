"""Jobs: bookings, reads, edits, and the steps of a blueprint."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.domain import booking, edits, job_history, job_queries, jobs
from engine.domain.booking import Booking
from engine.domain.commands import CommandInput
from engine.domain.job_queries import JobQuery
from engine.errors import CalloutError
from engine.idempotency import in_redis
from engine.identity import limits
from engine.rules import sort_keys
from server.api.endpoint import RequestContext, expected_version
from server.http import responses
from server.http.responses import Response
from server.schemas import problems
from server.schemas.decode import Body, NoQuery
from server.schemas.fields import sent_fields, to_ms
from server.schemas.jobs import Commands, JobsQuery, NewJob, PatchJob, Respond
from server.schemas.jobs import Step as StepBody
from server.schemas.lists import ListQuery


async def create(call: RequestContext[NewJob, NoQuery]) -> Response:
    """Book a job.

    Ops and services book for a `customer`. A `reference` is unique forever for each principal. If the same booking is
    sent again with its reference, the answer is the first job, with 200. Another booking with the same reference is
    refused as `duplicate`, with the first job's id.
    """
    done = await booking.book_job(call.engine, call.caller, wanted_booking(call.body), key=call.key, trace=call.trace)
    return responses.booking_response(done)


def wanted_booking(body: NewJob) -> Booking:
    """Return the booking that a body describes."""
    return Booking(**{**msgspec.structs.asdict(body), "scheduled_for": to_ms(body.scheduled_for)})


async def find(call: RequestContext[Body, JobsQuery]) -> Response:
    """Return the caller's jobs, the newest first; ops and services see all jobs."""
    asked = msgspec.structs.asdict(call.query)
    query = JobQuery(**{**asked, "updated_after": to_ms(call.query.updated_after)})
    page = await job_queries.find_jobs(call.engine, call.caller, query)
    return responses.page_response(call.next_link, page.items, page.next, page.as_of)


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return a job. `actions[]` lists the commands that the caller may give now. Strangers get `not_found`."""
    return responses.job_response(await job_queries.read_job(call.engine, call.caller, call.id))


async def history(call: RequestContext[Body, ListQuery]) -> Response:
    """Return all changes of a job: time, actor, states and reason."""
    return responses.list_response(
        call.next_link,
        call.query,
        await job_history.history(call.engine, call.caller, call.id),
        lambda item: (item.seq,),
    )


async def waves(call: RequestContext[Body, ListQuery]) -> Response:
    """Return, for each wave of a job, the technicians who were asked, and those left out with the reason."""
    return responses.list_response(
        call.next_link,
        call.query,
        await job_history.waves(call.engine, call.caller, call.id),
        sort_keys.wave_key,
    )


async def edit(call: RequestContext[PatchJob, NoQuery]) -> Response:
    """Change a booking, as far as the job's blueprint allows in its state.

    A refusal names the fields: `not_editable`, or `price_locked` if only the price is refused because it is agreed.
    Propose another price instead.
    """
    change = sent_fields(call.body)
    change.pop("version", None)
    if "scheduled_for" in change:
        change["scheduled_for"] = to_ms(change["scheduled_for"])
    version = expected_version(call)
    done = await edits.edit_job(
        call.engine, call.caller, call.id, change, version=version, key=call.key, trace=call.trace
    )
    return responses.step_response(done)


async def claim(call: RequestContext[StepBody, NoQuery]) -> Response:
    """Claim an offered job. Of several simultaneous claims exactly one wins."""
    return await _run_step(call, "claim")


async def reassign(call: RequestContext[StepBody, NoQuery]) -> Response:
    """Take a job from its holder, and give it to another technician or offer it again.

    With `technician`, this technician gets the job at once, with `force` even if they lack the service or capacity.

    Without `technician` the job is taken from its holder, and offered to all technicians except this former holder.
    """
    return await _run_step(call, "reassign")


async def respond(call: RequestContext[Respond, NoQuery]) -> Response:
    """Answer an offer: `accepted` is `claim`, `rejected` is `decline`."""
    body = call.body
    name = "claim" if body.status == "accepted" else "decline"
    return await _send_step(call, CommandInput(command=name, version=expected_version(call), reason=body.reason))


async def command(call: RequestContext[StepBody, NoQuery]) -> Response:
    """Take any step that the job's blueprint allows the caller."""
    return await _run_step(call, call.params["command"])


async def commands(call: RequestContext[Commands, NoQuery]) -> Response:
    """Take several steps in order, for clients that were offline. The first refusal ends the list.

    Each step has its own request key, so the client may send the whole list again: the answer to a step that was done
    is the same as the first time.
    """
    items: list[dict[str, Any]] = []
    for item in call.body.items:
        key = item.key or in_redis.new_key()
        result: dict[str, Any] = {"command": item.command, "key": key, "status": "not_tried"}
        items.append(result)
        if len(items) > 1 and items[-2]["status"] != "done":
            continue
        try:
            if item.command == "claim":
                await limits.count_request(call.engine, call.caller.id, limits.LIMITS["claims"])
            step = _build_step(item, item.command, item.version)
            done = await jobs.run_command(call.engine, call.caller, call.id, step, key=key, trace=call.trace)
        except CalloutError as error:
            result |= {"status": "refused", "error": problems.problem_object(error)}
        else:
            result |= {"status": "done", "job": done.job, "message": done.message}
            result |= {"repeated": True} if done.repeated else {}
    return responses.json_response({"items": items})


async def _run_step(call: RequestContext[StepBody, NoQuery], command: str) -> Response:
    return await _send_step(call, _build_step(call.body, command, expected_version(call)))


def _build_step(body: StepBody, command: str, version: int | None) -> CommandInput:
    return CommandInput(
        command=command,
        version=version,
        reason=body.reason,
        code=body.code,
        amount=body.amount,
        occurred_at=to_ms(body.occurred_at),
        technician=body.technician,
        force=body.force,
    )


async def _send_step(call: RequestContext[Any, Any], step: CommandInput) -> Response:
    done = await jobs.run_command(call.engine, call.caller, call.id, step, key=call.key, trace=call.trace)
    return responses.step_response(done)
