"""Demand: the requests that are expected in each area."""

from __future__ import annotations

from engine.domain import demand
from engine.types import Zone
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body
from server.schemas.demand import ClustersQuery, DemandQuery, ScoresQuery


async def find(call: RequestContext[Body, DemandQuery]) -> Response:
    """Return the areas of a zone in which jobs were requested, the highest score first, with the present jobs and
    technicians and the expected requests. Technicians see only the scores.
    """
    query = call.query
    found = await demand.list_areas(call.engine, call.caller, Zone(query.zone), query.by, query.box)
    return responses.list_response(call.next_link, query, found, lambda item: (-item["score"], item["area"]))


async def clusters(call: RequestContext[Body, ClustersQuery]) -> Response:
    """Return clusters of neighbouring areas around the areas with the most requests, the largest cluster first."""
    query = call.query
    found = await demand.list_clusters(call.engine, call.caller, Zone(query.zone), query.by)
    return responses.list_response(call.next_link, query, found, lambda item: (-item["sample"], item["area"]))


async def backtest(call: RequestContext[Body, ScoresQuery]) -> Response:
    """Return the recent mean errors of the forecast and of its baselines, by kind of area and horizon. The figures are
    updated once a day.
    """
    items = await demand.list_scores(call.engine, call.caller, Zone(call.query.zone))
    return responses.json_response({"items": items})
