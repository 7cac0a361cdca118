"""The routes of day plans. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import OPS
from server.api.handlers import plans
from server.api.route import Route
from server.http import policy
from server.schemas.decode import NoBody
from server.schemas.plans import AppliedPlan, NewPlan, PlanReply

PLAN_ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/plans", plans.create, OPS, policy.OWN_DATA, NewPlan, reply=PlanReply, status=202, has_key=True),
    Route("GET", "/v1/plans/{id}", plans.read, OPS, policy.ANY_PLAN, reply=PlanReply),
    Route("POST", "/v1/plans/{id}/apply", plans.apply, OPS, policy.ANY_PLAN, NoBody, reply=AppliedPlan),
)
