"""Day plans: they propose which booked jobs should go to another technician, and are applied by ops."""

from __future__ import annotations

import msgspec

from engine.domain import day_plan_moves, day_plans
from engine.domain.day_plans import PlanRequest
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoBody, NoQuery
from server.schemas.plans import NewPlan


async def create(call: RequestContext[NewPlan, NoQuery]) -> Response:
    """Compute a plan for a day in the background: which bookings should go to another technician so that all travel
    less, and who should do the bookings that wait. The plan is `computing`, and then `ready` or `failed`. It changes
    nothing until it is applied.
    """
    request = PlanRequest(**msgspec.structs.asdict(call.body))
    done = await day_plans.create_plan(call.engine, call.caller, request, key=call.key)
    where = (b"location", f"/v1/plans/{done.plan.id}".encode())
    return responses.object_response("plan", done.plan, where, *responses.replay_headers(done))


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return a plan: the proposed moves, in groups, and the travel time that each group saves."""
    return responses.object_response("plan", await day_plans.read_plan(call.engine, call.caller, call.id))


async def apply(call: RequestContext[NoBody, NoQuery]) -> Response:
    """Apply a plan: each group in one step, all of its moves or none. A group is refused if one of its jobs has changed
    meanwhile, or if its new technician can no longer take it. A repeat continues with the groups that are not applied.
    """
    return responses.json_response(await day_plan_moves.apply_plan(call.engine, call.caller, call.id, trace=call.trace))
