"""The routes of disputes, as a part of the table in server/api/routes.py. A job's own route opens a dispute."""

from __future__ import annotations

from engine.roles import MEDIATOR_ROLE, OPS, PARTY_ROLES
from server.api.handlers import disputes
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.decode import NoBody
from server.schemas.disputes import Dispute, DisputeReply, Resolution, TakenDispute

DISPUTE_ROUTES: tuple[Route, ...] = (
    list_route("/v1/disputes", disputes.find, PARTY_ROLES | OPS | MEDIATOR_ROLE, policy.OWN_DATA, Dispute, live=True),
    Route(
        "POST",
        "/v1/disputes/{id}/resolve",
        disputes.resolve,
        MEDIATOR_ROLE | OPS,
        policy.MEDIATE_DISPUTE,
        Resolution,
        reply=DisputeReply,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/disputes/{id}/take",
        disputes.take,
        MEDIATOR_ROLE | OPS,
        policy.MEDIATE_DISPUTE,
        NoBody,
        reply=TakenDispute,
        has_key=True,
    ),
)
