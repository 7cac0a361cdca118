"""The routes of links to jobs. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import CUSTOMER_ROLE, OPS
from server.api.handlers import shares
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.decode import NoBody
from server.schemas.shares import NewShare, Share, SharedJob, ShareReply

SHARER_ROLES = CUSTOMER_ROLE | OPS

SHARE_ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/jobs/{id}/shares",
        shares.create,
        SHARER_ROLES,
        policy.SHARE_JOB,
        NewShare,
        reply=ShareReply,
        status=201,
        has_key=True,
        limit_name="shares",
    ),
    list_route("/v1/jobs/{id}/shares", shares.find, SHARER_ROLES, policy.SHARE_JOB, Share),
    Route("GET", "/v1/jobs/{id}/shares/{share}", shares.read, SHARER_ROLES, policy.OWN_SHARE, reply=ShareReply),
    Route("GET", "/v1/shares/{token}", shares.follow, None, policy.ANY_SHARE_TOKEN, reply=SharedJob, may_stream=True),
    Route(
        "DELETE",
        "/v1/jobs/{id}/shares/{share}",
        shares.close,
        SHARER_ROLES,
        policy.OWN_SHARE,
        NoBody,
        status=204,
        has_key=True,
    ),
)
"""They come before the routes of a job's commands, whose path pattern matches these paths too."""
