"""The routes of earnings and payouts. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import OPS, SERVICE_ROLE, TECHNICIAN_ROLE
from server.api.handlers import earnings, payouts
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.earnings import (
    EarningsReply,
    NewPayout,
    Payout,
    PayoutReply,
    PayoutsQuery,
    SettlePayout,
    StatementQuery,
    StatementReply,
)
from server.schemas.lists import ListQuery

_OWN_EARNINGS = policy.EARNINGS_OF_TECHNICIAN

MONEY_ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/technicians/{id}/earnings",
        earnings.read,
        TECHNICIAN_ROLE | OPS,
        _OWN_EARNINGS,
        query=ListQuery,
        reply=EarningsReply,
        serves_suspended=True,
    ),
    Route(
        "GET",
        "/v1/technicians/{id}/statements",
        earnings.statement,
        TECHNICIAN_ROLE | OPS,
        _OWN_EARNINGS,
        query=StatementQuery,
        reply=StatementReply,
        serves_suspended=True,
    ),
    list_route("/v1/payouts", payouts.find, OPS | SERVICE_ROLE, policy.OWN_DATA, Payout, query=PayoutsQuery),
    Route(
        "POST",
        "/v1/payouts",
        payouts.create,
        OPS | SERVICE_ROLE,
        policy.OWN_DATA,
        NewPayout,
        reply=PayoutReply,
        status=201,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/payouts/{id}",
        payouts.settle,
        OPS | SERVICE_ROLE,
        policy.ANY_PAYOUT,
        SettlePayout,
        reply=PayoutReply,
        has_key=True,
    ),
)
