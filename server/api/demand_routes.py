"""The routes about demand. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.domain.demand import READER_ROLES, SCORE_READER_ROLES
from server.api.handlers import demand
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.demand import ClustersQuery, DemandCluster, DemandItem, DemandQuery, ForecastScores, ScoresQuery

DEMAND_ROUTES: tuple[Route, ...] = (
    list_route("/v1/demand", demand.find, SCORE_READER_ROLES, policy.OWN_DATA, DemandItem, query=DemandQuery),
    list_route(
        "/v1/demand/clusters", demand.clusters, READER_ROLES, policy.OWN_DATA, DemandCluster, query=ClustersQuery
    ),
    Route(
        "GET",
        "/v1/demand/backtest",
        demand.backtest,
        READER_ROLES,
        policy.OWN_DATA,
        query=ScoresQuery,
        reply=ForecastScores,
    ),
)
